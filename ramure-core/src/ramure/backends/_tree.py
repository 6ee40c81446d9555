"""Finding and killing all that a process or a machine started, wherever it has gone.

``_marks`` says how it is found. What cleared its environment is found as a descendant, or in the
session, of the process. Blocking: for worker threads, which also import this (psutil is slow).
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from contextlib import suppress

import psutil

from ramure.backends._marks import MARKS

_MARKS = f"\0{MARKS}=".encode()

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
        if clean < 2:
            time.sleep(0.002)
    return True


def _members(mark: str, root: int | None) -> list[psutil.Process]:
    """What is to be killed, parents first: none of them is to see a child end."""
    own = os.getpid()
    pids = [pid for pid in psutil.pids() if pid != own]
    found = [pid for pid in pids if _belongs(pid, mark, root)]
    if found:  # mostly there is nothing, and no need to know who descends from whom
        found += _descendants(found, pids)
    members = []
    for pid in found:
        with suppress(psutil.Error):  # it has ended meanwhile
            members.append(psutil.Process(pid))
    return [process for process in members if _runs(process)]


def _descendants(found: list[int], pids: list[int]) -> list[int]:
    """The children of these, their children, and so on; without these themselves."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in pids:
        with suppress(psutil.Error):
            children[psutil.Process(pid).ppid()].append(pid)
    queue, descendants = list(found), dict.fromkeys(found)
    while queue:
        for child in children[queue.pop()]:
            if child not in descendants:
                descendants[child] = None
                queue.append(child)
    return list(descendants)[len(found) :]


def _belongs(pid: int, mark: str, root: int | None) -> bool:
    if root is not None and root in (pid, _session(pid)):
        return True
    return mark in _marks(pid).split(":")


def _marks(pid: int) -> str:
    if sys.platform != "linux":
        with suppress(psutil.Error):  # somebody else's, or it has ended
            return psutil.Process(pid).environ().get(MARKS, "")
        return ""
    # A tenth of what psutil takes, for each process of the computer.
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 as said
        _, _, rest = (b"\0" + file.read()).partition(_MARKS)
        return rest.partition(b"\0")[0].decode("ascii", "replace")
    return ""


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
