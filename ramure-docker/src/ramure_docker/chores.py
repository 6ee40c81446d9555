"""Work in a container that is done to its end, also where nobody waits for it any longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Chores:
    """Tasks of a container's own, which ends them with itself.

    A command's deadline cannot wait for an engine that does not answer, and yet the command has to
    be killed as soon as it does.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> asyncio.Task[Any]:
        """Begin a piece of work. Whoever waits for it does so by ``asyncio.wait``, and may stop."""
        task = asyncio.create_task(work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is known now; whoever still waits raises it

    async def aclose(self) -> None:
        """End what still goes on."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
