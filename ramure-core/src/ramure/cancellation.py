"""Waiting that cancellation cannot break.

A shield is not enough: it keeps anyio's cancel scopes out, but a second native ``task.cancel()``
(asyncio's Ctrl-C, ``asyncio.wait_for``, ``asyncio.TaskGroup``) goes through it. So what must run to
its end runs in a task of somebody else, and whoever waits for it takes note of cancellations, tells
the work, and raises them again once the work has ended.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


async def outlast(event: anyio.Event, on_cancel: Callable[[], object] = lambda: None) -> None:
    """Wait for ``event``, whatever happens meanwhile.

    ``on_cancel`` is called at each cancellation (it may hasten the event); the last
    ``CancelledError`` is raised once the event is there.
    """
    try:
        await event.wait()
    except CancelledError as first:
        cancelled = first
        on_cancel()
    else:
        return
    with anyio.CancelScope(shield=True):
        while not event.is_set():
            try:
                await event.wait()
            except CancelledError as another:
                cancelled = another
                on_cancel()
    raise cancelled


class Job(Generic[T]):
    """Work that runs in a task group of somebody else, and its outcome."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope()
        self._value: list[T] = []
        self._error: BaseException | None = None
        self.begun = False
        self.done = anyio.Event()

    async def run(self) -> None:
        """Do the work, unless it has begun already; raises nothing but its cancellation.

        ``sys.exit()``, too, is for whoever waits: raised here it would end a task group that knows
        nothing of it.
        """
        if self.begun:
            return
        self.begun = True
        try:
            with self._scope:
                self._value.append(await self._work())
        except (CancelledError, GeneratorExit) as error:
            self._error = error
            raise
        except BaseException as error:  # noqa: BLE001 the outcome is the waiter's to raise
            self._error = error
        finally:
            self.done.set()

    def cancel(self) -> None:
        """Ask the work to stop; it removes what it has made so far.

        What has not begun never does: where the event loop is being closed, the task for it has
        been cancelled before its first step.
        """
        self._scope.cancel()
        if not self.begun:
            self.begun = True
            self._error = CancelledError()
            self.done.set()

    @property
    def made(self) -> list[T]:
        """The value in a list; empty where there is none."""
        return self._value

    def outcome(self) -> T:
        """The value; or raises what the work raised."""
        if self._error is not None:
            raise self._error
        if not self._value:
            raise CancelledError
        return self._value[0]


class Interrupted(Exception):
    """What ``Interruption.run`` raises where the work was interrupted and gave no value."""


class Interruption:
    """Cancels a program's own code as asyncio does: once, so that its ``finally`` can await.

    Code that goes on for longer than ``grace`` seconds after that is cancelled at every ``await``.
    """

    def __init__(self, grace: float = 10.0) -> None:
        self._grace = grace
        self._hard: anyio.CancelScope | None = None
        self._task: asyncio.Task[Any] | None = None
        self.requested = False
        self.begun = False

    def cancel(self) -> None:
        """Interrupt the work, now or when it starts. Only the first time counts."""
        if self.requested:
            return
        self.requested = True
        if self._task is not None and self._hard is not None:
            self._task.cancel()
            self._hard.deadline = asyncio.get_running_loop().time() + self._grace

    def insist(self) -> None:
        """Interrupt the work at every ``await`` from now on."""
        self.cancel()
        if self._hard is not None:
            self._hard.cancel()

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work in the current task.

        Raises:
            Interrupted: it was interrupted. An interruption that it ignores until it has a value
                counts for nothing.
        """
        if self.requested:
            raise Interrupted
        self.begun = True
        self._task = task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            # Made here: where calls arrive, outside any task, anyio knows no event loop.
            with anyio.CancelScope() as self._hard:
                return await work()
        except CancelledError:
            if not self.requested:
                raise
        finally:
            self._task = self._hard = None
            if self.requested:
                task.uncancel()
        raise Interrupted


async def complete(
    tasks: TaskGroup,
    work: Callable[[], Awaitable[T]],
    *,
    undo: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Run ``work`` in ``tasks`` and give its value.

    Where the caller is cancelled meanwhile, so is the work: its end is awaited, what it made all
    the same is undone to the end, and then the cancellation goes on.
    """
    job = Job(work)
    tasks.start_soon(job.run)
    try:
        await outlast(job.done, job.cancel)
    except CancelledError:
        if undo is not None and job.made:
            await finish(tasks, undo, job.made[0])
        raise
    return job.outcome()


async def finish(tasks: TaskGroup, work: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run ``work(*args)`` in ``tasks`` to its end, whoever is cancelled meanwhile.

    The work itself must be bounded. A cancellation of the caller is raised after its end.
    """

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await work(*args)

    job = Job(shielded)

    def begin() -> None:
        if not job.begun:
            tasks.start_soon(job.run)

    begin()
    # Again where the event loop is being closed: it cancels tasks before their first step.
    await outlast(job.done, begin)
    job.outcome()
