"""Every example of docs/guides/programs.md runs as it stands, and prints what stands below it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "programs.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
HANGS = 60
"""Seconds after which an example that waits has failed."""


def test_every_example_says_what_it_prints():
    assert len(EXAMPLES) == PAGE.count("```python\n") >= 8


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(tmp_path, monkeypatch, number):
    program, printed = EXAMPLES[number]
    monkeypatch.setenv("RAMURE_HOME", str(tmp_path / "home"))
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, printed), done.stderr
