"""`make pictures` still takes pictures: of real commands, with nothing of this computer in them."""

import os
import subprocess
import sys

import pytest

import parts
from doc_examples import ROOT

HANGS = 280
"""Seconds after which taking two pictures has failed."""


@pytest.mark.pi
def test_pictures_are_taken(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "pictures.py", "--to", tmp_path, "doctor", "why"],
        env={**os.environ, parts.PIS[0]: parts.pi_package()},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"doctor.svg", "why.svg"}
    shown = (tmp_path / "why.svg").read_text("utf-8").replace("&#160;", " ")
    assert "ModelFailed" in shown
    assert str(ROOT) not in shown
