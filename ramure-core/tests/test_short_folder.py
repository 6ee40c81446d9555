"""The folder of sockets whose own paths are too long: there while it is needed."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ramure import agent, agent_process, paths
from ramure.run import short_folder
from ramure.testing import ScriptedHarness

HANGS = 60
LONG = Path("/" + "x" * paths.MAX_SOCKET_PATH)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the test's own with a short path, and a home with a long one."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("RAMURE_HOME", str(tmp_path / ("h" * paths.MAX_SOCKET_PATH)))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@agent_process
async def crew(temporary):
    await agent("w", harness=ScriptedHarness(["x"]))
    (folder,) = temporary.iterdir()
    return len(list(folder.iterdir()))


async def test_a_run_leaves_no_empty_folder(temporary):
    assert await crew(temporary) >= 2  # the run's own socket, and its agents'
    assert list(temporary.iterdir()) == []


async def test_a_folder_with_something_in_it_stays(temporary):
    (paths.short_folder() / "another's").write_text("")
    await crew(temporary)
    assert [path.name for path in paths.short_folder_path().iterdir()] == ["another's"]


def test_a_run_that_needs_none_makes_none(temporary, monkeypatch, tmp_path):
    with short_folder.kept_for(Path("/short")):
        assert list(temporary.iterdir()) == []


def test_doctor_leaves_none(temporary):
    done = subprocess.run(
        [sys.executable, "-m", "ramure", "doctor"], capture_output=True, timeout=HANGS, check=False
    )
    assert b"too long for them" in done.stdout
    assert list(temporary.iterdir()) == []


PROGRAM = """
import asyncio
from ramure import agent_process

@agent_process
async def main():
    print("ready", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_the_keeper_of_a_killed_run_leaves_none(temporary):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"ready\n"
        assert list(temporary.iterdir())
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + HANGS
    while list(temporary.iterdir()):
        assert time.monotonic() < deadline, "the folder is still there"
        time.sleep(0.05)


def test_runs_that_come_and_go_take_it_from_nobody(temporary):
    troubles = []

    def come_and_go(name):
        try:
            for number in range(300):
                with short_folder.kept_for(LONG), socket.socket(socket.AF_UNIX) as one:
                    path = paths.short_folder() / f"{name}-{number}.sock"
                    one.bind(str(path))
                    path.unlink()
        except OSError as error:
            troubles.append(error)

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS)
    assert troubles == []
    assert list(temporary.iterdir()) == []


def test_what_others_have_made_anew_is_not_removed(temporary, monkeypatch):
    """Between the look of one who leaves and its lock, all leave and one comes."""
    paths.short_folder()
    lock, comes = fcntl.flock, contextlib.ExitStack()

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        paths.short_folder_path().rmdir()
        comes.enter_context(short_folder.kept_for(LONG))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with comes:
        short_folder.leave()
        assert paths.short_folder_path().is_dir()
    assert list(temporary.iterdir()) == []


def test_a_folder_of_somebody_else_stops_nobody_who_does_not_need_it(temporary):
    paths.short_folder_path().symlink_to(temporary / "nowhere")
    with short_folder.kept_for(LONG):
        pass
    assert os.path.lexists(paths.short_folder_path())
