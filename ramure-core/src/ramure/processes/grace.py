"""How long the handlers of an ending process may go on: a deadline that can only come nearer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

AFTER_END = 5.0
"""Seconds that handlers and endpoints have when a process returns or fails, in its whole tree."""

AFTER_CANCEL = 3.0
"""Seconds that they have when it is cancelled: within 5 s after a signal all is to be gone."""


class Grace:
    """The deadline of one process, in its event loop's time.

    Attributes:
        deadline: infinite while nothing ends.
    """

    def __init__(self) -> None:
        self.deadline = math.inf
        self._waiting: anyio.CancelScope | None = None

    def end_by(self, deadline: float) -> None:
        """Not later than this, also for somebody who waits already."""
        self.deadline = min(self.deadline, deadline)
        if self._waiting is not None:
            self._waiting.deadline = self.deadline

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Leave the block at the deadline."""
        try:
            with anyio.CancelScope(deadline=self.deadline) as self._waiting:
                yield
        finally:
            self._waiting = None
