"""Calls of the SDK, each of which is cancelled once at most.

The SDK works in a thread of its own and carries a cancellation there by itself. A scope of anyio's
cancels at every step until its end, which breaks that off: the order goes on with nobody to hear
how it ends, and the event loop complains of an error that nobody has looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

import anyio

from ramure._work import to_end
from ramure.cancellation import outlast

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 5.0
"""Seconds in which the SDK carries out a cancellation; then it is cancelled again."""

_started = False


async def call(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function(*args, **kwargs)`` gives. It is over when this returns or raises."""

    async def work() -> T:
        return await function(*args, **kwargs)

    if not _started:
        await to_end(_start)
    loop, done = asyncio.get_running_loop(), anyio.Event()
    again: list[asyncio.TimerHandle] = []
    task = loop.create_task(work())
    task.add_done_callback(lambda _: done.set())

    def cancel() -> None:
        if not again:
            task.cancel()
            again.append(loop.call_later(GRACE, task.cancel))

    try:
        await outlast(done, cancel)
    finally:
        for timer in again:
            timer.cancel()
        if task.done() and not task.cancelled():
            task.exception()  # looked at, whatever is raised instead
    return task.result()


async def _start() -> None:
    """Start the SDK's thread. A call that is cancelled meanwhile would be forgotten unawaited."""
    global _started  # noqa: PLW0603 the process has one
    import modal
    from modal.exception import InvalidError

    with suppress(InvalidError):  # that is no name, so nobody is asked
        await modal.App.lookup.aio("")
    _started = True
