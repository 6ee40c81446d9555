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
from threading import Condition

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
    look = _looks.fresh()
    found = [pid for pid, marks in look.items() if mark in marks or _rooted(pid, root)]
    if found:  # mostly there is nothing, and no need to know who descends from whom
        found += _descendants(found, list(look))
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


def _rooted(pid: int, root: int | None) -> bool:
    return root is not None and root in (pid, _session(pid))


class _Looks:
    """Looks at all processes, shared by threads: a hundred machines that end together need few."""

    def __init__(self) -> None:
        self._news = Condition()
        self._begun = self._done = 0
        self._taking = False
        self._latest: dict[int, list[str]] = {}

    def fresh(self) -> dict[int, list[str]]:
        """The marks of every process but this one, by its number, as of now or later."""
        with self._news:
            wanted = self._begun + 1  # one that is being taken may have passed what we look for
            self._news.wait_for(lambda: self._done >= wanted or not self._taking)
            if self._done >= wanted:
                return self._latest
            self._begun, self._taking = self._begun + 1, True
        look = None
        try:
            look = {pid: _marks(pid) for pid in psutil.pids() if pid != os.getpid()}
            return look
        finally:
            with self._news:
                self._taking = False
                if look is not None:
                    self._latest, self._done = look, self._begun
                self._news.notify_all()


_looks = _Looks()


def _marks(pid: int) -> list[str]:
    marks = ""
    if sys.platform != "linux":
        with suppress(psutil.Error):  # somebody else's, or it has ended
            marks = psutil.Process(pid).environ().get(MARKS, "")
        return marks.split(":")
    # A tenth of what psutil takes, for each process of the computer.
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 as said
        _, _, rest = (b"\0" + file.read()).partition(_MARKS)
        marks = rest.partition(b"\0")[0].decode("ascii", "replace")
    return marks.split(":")


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
