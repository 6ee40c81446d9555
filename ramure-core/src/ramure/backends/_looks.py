"""Looks at all processes of this computer, and at the marks they carry. See ``_marks``.

On Linux without psutil, whose import alone takes longer than ten looks.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import Condition

from ramure.backends._marks import MARKS

PIECE = 1 << 15
"""Bytes of an environment that are read at a time: nearly every one is smaller."""

_VARIABLE = f"\0{MARKS}=".encode()


class Looks:
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
            look = {pid: _marks(pid) for pid in _pids() if pid != os.getpid()}
            return look
        finally:
            with self._news:
                self._taking = False
                if look is not None:
                    self._latest, self._done = look, self._begun
                self._news.notify_all()


def _pids() -> list[int]:
    if sys.platform != "linux":
        import psutil

        return psutil.pids()
    entries = os.listdir("/proc")  # noqa: PTH208 names are all that is wanted
    return sorted(int(name) for name in entries if name.isdigit())


def _marks(pid: int) -> list[str]:
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):  # somebody else's, or it has ended
            return psutil.Process(pid).environ().get(MARKS, "").split(":")
        return []
    _, found, rest = (b"\0" + _environment(pid)).partition(_VARIABLE)
    return rest.partition(b"\0")[0].decode("ascii", "replace").split(":") if found else []


def _environment(pid: int) -> bytes:
    """A process's environment as Linux has it; empty for somebody else's, or one that has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    pieces = []
    try:
        while piece := os.read(descriptor, PIECE):
            pieces.append(piece)
            if len(piece) < PIECE:
                break
    except OSError:
        pass  # it has ended meanwhile
    finally:
        os.close(descriptor)
    return b"".join(pieces)
