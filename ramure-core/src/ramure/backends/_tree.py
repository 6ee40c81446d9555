"""Finding and killing all that a process or a machine started, wherever it has gone.

``_marks`` says how it is found. What cleared its environment is found as a descendant, or in the
session, of the process. Blocking: for worker threads.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import suppress

from ramure.backends._looks import Looks

BOUND = 5.0
"""Seconds after which killing gives up: what is left then is stuck in the kernel."""

_looks = Looks()


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
        look = _looks.fresh()
        found = [pid for pid, marks in look.items() if mark in marks or _rooted(pid, root)]
        clean = 0 if found and _kill(found, list(look)) else clean + 1
        root = None
        if clean < 2:
            time.sleep(0.002 if found else 0.0005)
    return True


def _rooted(pid: int, root: int | None) -> bool:
    return root is not None and root in (pid, _session(pid))


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _kill(found: list[int], pids: list[int]) -> bool:
    """Kill these and their descendants among ``pids``; False where none of them ran any more."""
    import psutil  # slow, and mostly there is nothing to kill

    running = []
    for pid in found + _descendants(found, pids):
        with suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    for process in running:  # parents first: none of them is to see a child end
        with suppress(psutil.Error):
            process.kill()
    return bool(running)


def _descendants(found: list[int], pids: list[int]) -> list[int]:
    """The children of these, their children, and so on; without these themselves."""
    import psutil

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
