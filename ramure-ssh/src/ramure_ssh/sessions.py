"""How many sessions a host allows over one connection, and who has one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio
from anyio import CapacityLimiter

from ramure_ssh.errors import TooManySessions

PATIENCE = 30.0
"""Seconds after which nobody waits on who need never end."""


class Sessions:
    """Hands out sessions: to commands that will end, and to what lasts.

    What lasts never has the last one that commands could have, so that these always come to their
    turn; unless there are but two, of which the warden has one.
    """

    def __init__(self, where: str, total: int) -> None:
        """Make them.

        Args:
            where: the host, for errors.
            total: how many it allows, at least two.
        """
        self._where = where
        self._all = CapacityLimiter(total)
        self._lasting = CapacityLimiter(max(1, total - 2))

    async def take(self, *, lasting: bool = False) -> Callable[[], None]:
        """Wait for one; gives what hands it back.

        Raises:
            TooManySessions: all are held by what lasts.
        """
        borrower = object()
        if lasting:
            await self._wait(self._lasting, borrower)
        try:
            await self._wait(self._all, borrower)
        except BaseException:
            if lasting:
                self._lasting.release_on_behalf_of(borrower)
            raise
        return partial(self._hand_back, borrower, lasting=lasting)

    def limit(self, total: int) -> None:
        """The host allows no more than so many, at least two."""
        self._all.total_tokens = max(2, min(self._all.total_tokens, total))
        self._lasting.total_tokens = max(1, self._all.total_tokens - 2)

    @property
    def taken(self) -> int:
        """How many are taken."""
        return int(self._all.borrowed_tokens)

    @property
    def free(self) -> bool:
        """Whether one can be had without waiting."""
        return self._all.available_tokens > 0

    async def _wait(self, limiter: CapacityLimiter, borrower: object) -> None:
        while True:
            with anyio.move_on_after(PATIENCE) as waiting:
                await limiter.acquire_on_behalf_of(borrower)
            if not waiting.cancelled_caught:
                return
            held = self._lasting.borrowed_tokens >= self._all.total_tokens - 1
            if limiter is self._lasting or held:
                raise TooManySessions(
                    f"{self._where} allows {self._all.total_tokens:g} sessions at a time, all held "
                    "by processes that go on: end some, or have it allow more (MaxSessions in its "
                    "sshd_config, max_sessions= in SSHImage)"
                )

    def _hand_back(self, borrower: object, *, lasting: bool) -> None:
        self._all.release_on_behalf_of(borrower)
        if lasting:
            self._lasting.release_on_behalf_of(borrower)
