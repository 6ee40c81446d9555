"""Looks at all processes of this computer, and at the marks they carry. See ``_marks``.

On Linux without psutil, whose import alone takes longer than ten looks.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import Condition

from ramure.backends._marks import MARKS

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
    marks = ""
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):  # somebody else's, or it has ended
            marks = psutil.Process(pid).environ().get(MARKS, "")
        return marks.split(":")
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 thrice as fast
        _, _, rest = (b"\0" + file.read()).partition(_VARIABLE)
        marks = rest.partition(b"\0")[0].decode("ascii", "replace")
    return marks.split(":")
