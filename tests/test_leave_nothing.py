"""``scripts/leave_nothing.py``, under which all tests run: what it finds, and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/leave_nothing.py"
HANGS = 60

# One that carries the mark has a child that does not, as a container's shim has.
LEAVES = "setsid sh -c 'env -i sleep 1000 & echo $! >child; wait' & "
WAITS = "until [ -s child ]; do sleep 0.1; done; "


@pytest.fixture
def started(tmp_path):
    """A command under the script, which leaves something, and what it left."""

    def start(more):
        command = [sys.executable, SCRIPT, "sh", "-c", LEAVES + WAITS + more]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    yield start
    if (child := tmp_path / "child").exists() and psutil.pid_exists(int(child.read_text())):
        os.kill(int(child.read_text()), signal.SIGKILL)


def ends(pid):
    deadline = time.monotonic() + HANGS
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it was left"
        time.sleep(0.05)


@pytest.mark.parametrize("stopped", [False, True])
def test_what_descends_from_what_is_left_is_left_too(started, tmp_path, stopped):
    with started("exec sleep 1000" if stopped else "") as script:
        if stopped:
            deadline = time.monotonic() + HANGS
            while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            script.send_signal(signal.SIGTERM)
        said, _ = script.communicate(timeout=HANGS)
    pid = int((tmp_path / "child").read_text())
    assert f"left behind (ended now): process {pid}: sleep 1000" in said
    assert script.returncode == (128 + signal.SIGTERM if stopped else 90)
    ends(pid)
