"""What a child that the program forks (``multiprocessing``) must not inherit of its runs.

It would hold the keepers' pipes and the runs' locks, so that a killed program seems to live on in
it; and the event loop's signal handling, so that ending the child ends the program.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

_descriptors: set[int] = set()
_handlers: list[Callable[[], None]] = []


def withhold(descriptor: int) -> None:
    """Close this descriptor in every child that is forked from now on."""
    _descriptors.add(descriptor)


def close(descriptor: int) -> None:
    """Close a withheld descriptor here, too."""
    _descriptors.discard(descriptor)
    os.close(descriptor)


def in_children(handler: Callable[[], None]) -> None:
    """Call ``handler`` in every forked child."""
    _handlers.append(handler)


def default_signals(numbers: list[signal.Signals]) -> None:
    """Give signals that the event loop handled their own effect again, in a child."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


_mask: list[set[signal.Signals | int]] = []


def _before() -> None:
    # A signal that comes to the child before it has its own handling would go to the program.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    _mask.append(set(mask))


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.pop())


def _in_child() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()
    for handler in _handlers:
        handler()
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.pop())


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
