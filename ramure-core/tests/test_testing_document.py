"""docs/guides/testing.md is true: its program and its tests run as they are written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parts

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guides" / "testing.md"
HANGS = 120
"""Seconds after which a test that waits has failed."""


def run(tmp_path, name, passed=3, **env):
    """Write the document's files into a folder and run one of its tests there."""
    for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        file = re.match(r"# (\w+\.py)\n", block)
        (tmp_path / file[1]).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", name]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"RAMURE_HOME": str(tmp_path / "home")} | env,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("test_in_ten_lines.py", 1),
        ("test_without_pi.py", 3),
        ("test_in_memory.py", 2),
        ("test_with_faults.py", 2),
    ],
)
def test_the_tests_without_pi(tmp_path, name, passed):
    run(tmp_path, name, passed)


@pytest.mark.pi
@pytest.mark.parametrize("variable", parts.PIS)
def test_the_tests_with_pi(tmp_path, variable):
    run(tmp_path, "test_with_pi.py", RAMURE_PI=parts.pi_package(variable))
