#!/usr/bin/env python3
"""Run a command and fail (90) when it leaves a process or a temporary file behind.

    scripts/leave_nothing.py COMMAND…

The command gets a temporary folder of its own, with a short path (Unix sockets), and a mark in its
environment that whatever it starts inherits. What still carries the mark a while after the command
was left behind, and so was what descends from it, such as a container from its shim: it is listed
and ended. Processes are looked for where there is a /proc.

``{tmp}`` in the command is that folder. What lies in its ``pytest`` is pytest's own and counts for
nothing.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

MARK = "RAMURE_TEST_MARK"
SHORT = 16
"""Characters of a folder's path that leave room for the names of Unix sockets (about 100)."""

PATIENCE = 10.0
"""Seconds in which processes may end by themselves: a killed run's keeper needs a moment."""


def main(command: list[str]) -> int:
    """Run it and tell its exit code, or 90."""
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir=usual if len(usual) < SHORT else "/tmp"))
    folder.chmod(0o711)  # tests run things as other users, too
    (folder / "pytest").mkdir()
    mark = f"{os.getpid()}-{time.time_ns()}"
    environment = {
        **os.environ,
        "TMPDIR": str(folder),
        "PYTEST_DEBUG_TEMPROOT": str(folder / "pytest"),
        MARK: mark,
    }
    try:
        command = [part.replace("{tmp}", str(folder)) for part in command]
        # Ctrl-C reaches the command, too. Before its start: in the background it may be ignored,
        # and what is ignored is inherited.
        signal.signal(signal.SIGINT, lambda *_: None)
        child = subprocess.Popen(command, env=environment)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
        processes = left_processes(mark)
        files = sorted(p.name for p in folder.iterdir() if p.name != "pytest")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for pid, title in processes.items():
        print(f"left behind (ended now): process {pid}: {title[:200]}")
        end(pid)
    for name in files:
        print(f"left behind (removed now): temporary file {name}")
    if code < 0:
        code = 128 - code
    return code or (90 if processes or files else 0)


def left_processes(mark: str) -> dict[int, str]:
    """What does not end by itself in time: pids and their command lines."""
    deadline = time.monotonic() + PATIENCE
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def marked(mark: str) -> dict[int, str]:
    """The living processes that carry the mark, and those that descend from them."""
    needle = f"{MARK}={mark}".encode()
    titles, parents, found = {}, {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            pid, (state, parent, *_) = int(process.name), stat(process)
            if state == "Z":
                continue
            titles[pid] = (process / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
            parents[pid] = int(parent)
            if needle in (process / "environ").read_bytes().split(b"\0"):
                found.add(pid)
        except OSError:  # it ended, or it is somebody else's
            continue
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: titles[pid] for pid in sorted(found)}


def stat(process: Path) -> list[str]:
    """What is told of a process after its name, which may hold anything: state, parent and more."""
    return (process / "stat").read_text("utf-8", "replace").rpartition(") ")[2].split()


def end(pid: int) -> None:
    """Kill it, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
