"""What a program does when it is told to end from outside while it has live runs.

SIGTERM and SIGHUP would end Python at once and leave the cleaning to the keepers. Instead they
cancel the root processes, and take their usual effect when these have cleaned up; a second one
does so at once. Ctrl-C is asyncio's (``asyncio.run`` cancels the program, which cleans up; a
second one stops the event loop), but a third one always ends the program: its keepers do the rest.

Signals that the program handles or ignores by itself are left alone, and so are all where Python
does not run in its main thread, which alone can handle them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ramure.run import forks

PATIENCE = 3
"""So many Ctrl-C end a program, whatever it is doing."""

End = Callable[[str], None]


class _Watch:
    """The signals of a program with live runs, and whom they concern."""

    def __init__(self) -> None:
        self._ends: list[End] = []
        self._ours: list[signal.Signals] = []
        self._interrupt: Any = None
        self._interrupts = 0
        self._came: signal.Signals | None = None

    def enter(self, end: End) -> None:
        if not self._ends and threading.current_thread() is threading.main_thread():
            self._install()
        self._ends.append(end)

    def leave(self, end: End) -> None:
        self._ends.remove(end)
        if not self._ends:
            self._restore()
            if self._came is not None:
                os.kill(os.getpid(), self._came)

    def _install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                loop.add_signal_handler(number, self._told, number)
                self._ours.append(number)
        if callable(signal.getsignal(signal.SIGINT)):
            self._interrupts = 0
            self._interrupt = signal.signal(signal.SIGINT, self._interrupted)

    def _restore(self) -> None:
        loop = asyncio.get_running_loop()
        while self._ours:
            loop.remove_signal_handler(self._ours.pop())
        if self._interrupt is not None:
            signal.signal(signal.SIGINT, self._interrupt)
            self._interrupt = None

    def _told(self, number: signal.Signals) -> None:
        self._came = number
        loop = asyncio.get_running_loop()
        while self._ours:
            loop.remove_signal_handler(self._ours.pop())
        for end in self._ends:
            end(number.name)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts < PATIENCE:
            self._interrupt(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def forked(self) -> None:
        """In a child of the program: these are not its runs."""
        if self._ours:
            forks.default_signals(self._ours)
        self._ours, self._ends = [], []


_watch = _Watch()
forks.in_children(_watch.forked)


@contextmanager
def ending_signals(end: End) -> Iterator[None]:
    """Call ``end`` with a signal's name when one comes while the block runs."""
    _watch.enter(end)
    try:
        yield
    finally:
        _watch.leave(end)
