"""Finding and killing all that a process or a machine started, wherever it has gone.

``_marks`` says how it is found. What cleared its environment is found as a descendant, or in the
session, of the process. Blocking: for worker threads, which also import this (psutil is slow).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import suppress

import psutil

from ramure.backends._marks import MARKS

BOUND = 5.0
"""Seconds after which killing gives up: what is left then is stuck in the kernel."""


def kill_tree(mark: str, root: int | None = None) -> bool:
    """Kill every process that carries ``mark``, or descends from ``root``. Blocking.

    Args:
        mark: see ``new_mark``.
        root: a process that runs, so that its number is still its own.

    Returns:
        True where none is left; False where some could not be killed within ``BOUND``.
    """
    deadline = time.monotonic() + BOUND
    clean = 0
    while clean < 2:  # one look can miss a process that forked and ended behind its back
        if time.monotonic() > deadline:
            return False
        found = _members(mark, root)
        root = None
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        clean = 0 if found else clean + 1
        time.sleep(0.002)
    return True


def _members(mark: str, root: int | None) -> list[psutil.Process]:
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    found: dict[int, psutil.Process] = {}
    for pid in psutil.pids():
        with suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            children[process.ppid()].append(process)
            if pid != os.getpid() and _belongs(process, mark, root):
                found[pid] = process
    queue = list(found)
    while queue:
        for child in children[queue.pop()]:
            if child.pid not in found and child.pid != os.getpid():
                found[child.pid] = child
                queue.append(child.pid)
    return [process for process in found.values() if _runs(process)]


def _belongs(process: psutil.Process, mark: str, root: int | None) -> bool:
    if root is not None and (process.pid == root or _session(process.pid) == root):
        return True
    with suppress(psutil.Error):  # somebody else's
        return mark in process.environ().get(MARKS, "").split(":")
    return False


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
