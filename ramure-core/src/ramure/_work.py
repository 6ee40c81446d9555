"""Work that is always awaited to its end: cleanup, and blocking calls in worker threads."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from ramure.cancellation import Job

T = TypeVar("T")

log = logging.getLogger("ramure")

CLEANUP = 10.0
"""Seconds that one piece of cleanup on a machine may take."""

_limiters: RunVar[dict[str, CapacityLimiter]] = RunVar("ramure_limiters")


async def to_end(work: Callable[[], Awaitable[object]], seconds: float = CLEANUP) -> bool:
    """Run ``work`` to its end, at most ``seconds``, whoever is cancelled meanwhile and how often.

    A cancellation is raised after the end. What ``work`` raises is raised.

    Returns:
        False where the time did not suffice, which is logged: this is called while other errors
        are on their way, which none of its own may replace. Whoever promises the work raises.
    """

    async def shielded() -> bool:
        with anyio.move_on_after(seconds, shield=True) as patience:
            await work()
        if patience.cancelled_caught:
            log.warning("%s did not end within %g s", _name(work), seconds)
        return not patience.cancelled_caught

    return await _awaited(Job(shielded))


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


def _name(work: object) -> str:
    """What people call it: a method by its class, a partial by its function and arguments."""
    if isinstance(work, partial):
        arguments = ", ".join(map(_name, work.args))
        return f"{_name(work.func)}({arguments})"
    return getattr(work, "__qualname__", repr(work))


def _limiter(pool: str, size: int) -> CapacityLimiter:
    """Pools are apart: threads that clean up must not queue behind what they clean up after."""
    limiters = _limiters.get({})
    _limiters.set(limiters)
    return limiters.setdefault(pool, CapacityLimiter(size))
