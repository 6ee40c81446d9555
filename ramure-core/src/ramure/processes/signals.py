"""What a program does when it is told to end from outside while it has live runs.

SIGTERM and SIGHUP would end Python at once and leave the cleaning to the keepers. Instead they
cancel the root processes, and take their usual effect when these have cleaned up; a second one
does so at once.

The first Ctrl-C is asyncio's: ``asyncio.run`` cancels the program, which cleans up; runs in other
threads are ended as well. The second one,
which asyncio would raise wherever the program happens to be, in the middle of the cleaning, takes
the remaining patience from it instead. A third one ends the program whatever it is doing: its
keepers do the rest.

Signals that the program handles or ignores by itself are left alone, and so are all while only
threads other than Python's main one, which alone can handle them, have runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, Protocol

from ramure.run import forks

PATIENCE = 3
"""So many Ctrl-C end a program, whatever it is doing."""

Handler = Callable[[int, FrameType | None], Any]


class Endable(Protocol):
    """What signals end: a root process. Both are called on its own event loop."""

    def end(self, signal: str) -> None:
        """Clean up and end."""

    def hurry(self) -> None:
        """End without giving anything its time to finish."""


class _Run(NamedTuple):
    loop: asyncio.AbstractEventLoop
    root: Endable

    def soon(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # its loop has just been closed
            self.loop.call_soon_threadsafe(function, *args)


class _Watch:
    """The signals of a program with live runs, and whom they concern."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ours: list[signal.Signals] = []
        self._interrupt: Handler | None = None
        self._interrupts = 0
        self._came: signal.Signals | None = None

    def enter(self, root: Endable) -> _Run:
        run = _Run(asyncio.get_running_loop(), root)
        if self._loop is None and threading.current_thread() is threading.main_thread():
            self._install(run.loop)
        self._runs.append(run)
        return run

    def leave(self, run: _Run) -> None:
        self._runs.remove(run)
        if run.loop is self._loop and not any(other.loop is self._loop for other in self._runs):
            self._restore()
        if self._came is not None and not self._runs:
            came, self._came = self._came, None
            os.kill(os.getpid(), came)

    def _install(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                loop.add_signal_handler(number, self._told, number)
                self._ours.append(number)
        found = signal.getsignal(signal.SIGINT)
        if callable(found) and (found is signal.default_int_handler or _is_asyncios(found)):
            self._interrupts = 0
            self._interrupt = found
            signal.signal(signal.SIGINT, partial(self._interrupted, found))

    def _restore(self) -> None:
        self._give_back()
        if self._interrupt is not None:
            signal.signal(signal.SIGINT, self._interrupt)
            self._interrupt = None
        self._loop = None

    def _give_back(self) -> None:
        while self._ours and self._loop is not None:
            self._loop.remove_signal_handler(self._ours.pop())

    def _told(self, number: signal.Signals) -> None:
        """End all runs, then by this signal; the next one finds its usual effect."""
        self._came = number
        self._give_back()
        for run in self._runs:
            run.soon(run.root.end, number.name)

    def _interrupted(self, usual: Handler, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1 and usual is signal.default_int_handler:
            # Nobody but us would keep it from being raised wherever the program is.
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._told, signal.SIGINT)
        elif self._interrupts == 1:
            for run in self._runs:
                if run.loop is not self._loop:
                    run.soon(run.root.end, "SIGINT")
            usual(number, frame)
        elif self._interrupts < PATIENCE:
            for run in self._runs:
                run.soon(run.root.hurry)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def forked(self) -> None:
        """In a child of the program: these are not its runs."""
        if self._ours:
            forks.default_signals(self._ours)
        if self._interrupt is not None:
            signal.signal(signal.SIGINT, self._interrupt)
        self._runs, self._ours = [], []
        self._loop = self._interrupt = self._came = None


def _is_asyncios(handler: Any) -> bool:
    """Whether this is what ``asyncio.Runner`` installs, under any event loop."""
    of = getattr(getattr(handler, "func", None), "__self__", None)
    return isinstance(of, asyncio.Runner)


_watch = _Watch()
forks.in_children(_watch.forked)


@contextmanager
def ending_signals(root: Endable) -> Iterator[None]:
    """End ``root`` when a signal comes while the block runs."""
    run = _watch.enter(root)
    try:
        yield
    finally:
        _watch.leave(run)
