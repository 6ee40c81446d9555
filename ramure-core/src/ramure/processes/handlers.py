"""The handlers of one process: what runs in it beside its body, and ends before its end is told."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import anyio

from ramure.cancellation import Interrupted, Interruption
from ramure.errors import NotInProcess
from ramure.processes.grace import Grace

if TYPE_CHECKING:
    from ramure.processes.process import Process

CLEANUP = 15.0
"""Seconds that cancelled ones have for their own cleanup; after 10 every ``await`` is cancelled."""


class Handlers:
    """Handlers of tools, endpoints and bubbling at work, each a task.

    They can be started while the ``async with`` block runs, from where messages arrive, outside any
    task: asyncio's own group works there.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[Interruption] = set()
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await cast("asyncio.TaskGroup", self._tasks).__aexit__(kind, error, traceback)
        finally:
            self._tasks = None

    def start(
        self,
        work: Callable[[], Awaitable[None]],
        context: Context,
        unbegun: Callable[[], object],
    ) -> Interruption:
        """Run one in a copy of ``context``; see ``Scope.start``."""
        if self._tasks is None:
            raise NotInProcess(f"the process {self._process.name!r} is not running")
        handling = Interruption()
        task = self._tasks.create_task(self._handle(handling, work), context=context.copy())
        self._running.add(handling)
        self._process.activity.stir(+1)
        # Not in the task itself: one that is cancelled before its first step runs nothing.
        task.add_done_callback(lambda _: self._handled(handling, unbegun))
        return handling

    async def _handle(self, handling: Interruption, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await handling.run(work)
        except Interrupted:
            pass
        except (CancelledError, GeneratorExit):
            raise  # the handler's own or the closing event loop's: a failure of nobody's
        except BaseException as error:  # noqa: BLE001 sys.exit(), too, ends the process and no more
            self._process.crash(error)

    def _handled(self, handling: Interruption, unbegun: Callable[[], object]) -> None:
        self._running.discard(handling)
        self._process.activity.stir(-1)
        if not self._running:
            self._ended.set()
        if not handling.begun:
            unbegun()

    def hurry(self) -> None:
        """Cancel them at every ``await`` from now on."""
        for handling in list(self._running):
            handling.insist()

    async def end(self, grace: Grace | None) -> None:
        """Cancel those that have not finished within their time; None: at once."""
        if grace is not None:
            with grace.limit():
                await self._all_ended()
        for handling in list(self._running):
            handling.cancel()
        with anyio.move_on_after(CLEANUP):
            await self._all_ended()

    async def _all_ended(self) -> None:
        while self._running:
            self._ended = asyncio.Event()
            await self._ended.wait()
