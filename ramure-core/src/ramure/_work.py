"""Work that is always awaited to its end: cleanup, and blocking calls in worker threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from ramure.cancellation import Job

T = TypeVar("T")

CLEANUP = 10.0
"""Seconds that one piece of cleanup on a machine may take."""

_limiters: RunVar[dict[str, CapacityLimiter]] = RunVar("ramure_limiters")


async def to_end(work: Callable[[], Awaitable[object]], seconds: float = CLEANUP) -> None:
    """Run ``work`` to its end, at most ``seconds``, whoever is cancelled meanwhile and how often.

    A cancellation is raised after the end. What ``work`` raises is raised.
    """

    async def shielded() -> None:
        with anyio.move_on_after(seconds, shield=True):
            await work()

    await _awaited(Job(shielded))


async def in_thread(work: Callable[[], T], *, pool: str, size: int = 8) -> T:
    """Run blocking ``work`` in a worker thread; at most ``size`` at a time of one ``pool``.

    The thread has ended when this returns or raises. Long work notices its cancellation by
    ``anyio.from_thread.check_cancelled`` or any other call into the loop.
    """
    return await _awaited(Job(lambda: to_thread.run_sync(work, limiter=_limiter(pool, size))))


async def _awaited(job: Job[T]) -> T:
    # A task group waits for its children through any number of native cancellations.
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run)
    return job.outcome()


def _limiter(pool: str, size: int) -> CapacityLimiter:
    """Pools are apart: threads that clean up must not queue behind what they clean up after."""
    limiters = _limiters.get({})
    _limiters.set(limiters)
    return limiters.setdefault(pool, CapacityLimiter(size))
