"""Running processes, as others have them: calls, handles, observation."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, Generator
from contextvars import copy_context
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

import anyio

from ramure.agents.agent import Agent
from ramure.cancellation import Job, outlast
from ramure.errors import EndpointError, InvalidTool, UsageError
from ramure.events import EventStream
from ramure.processes.ambient import require_process
from ramure.processes.functions import define
from ramure.processes.process import Process, Status, run_child
from ramure.processes.requests import Endpoint, Options
from ramure.processes.root import Root
from ramure.scope import current, on_the_loop
from ramure.tools import Tool, WrongArguments
from ramure.tools.result import describe

P = ParamSpec("P")
R = TypeVar("R")

SETTLING = 10.0
"""Seconds that a call waits for a process that is still setting up to expose the endpoint."""


async def call(name: str, options: Options, body: Callable[[], Awaitable[Any]]) -> Any:
    """Run a process that was called like a function: as a child, or as the root of a run."""
    if current.get(None) is None:
        return await Root(name, options, body).run()
    return await run_child(_live_parent(f"{name}()").begin_child(name, options, body))


def _live_parent(name: str) -> Process:
    """The current process, for a call that reads like ``name``."""
    parent = require_process(name)
    if not parent.alive:
        raise UsageError(f"{name}: the process {parent.name!r} is ending and starts nothing new")
    return parent


@on_the_loop
def spawn(
    function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
) -> ProcessHandle[R]:
    """Run a process in the background, as a child of the current one.

    Args:
        function: an ``@agent_process``, or any async function (run with default options), bound
            method or ``partial`` of one.
        *args: its arguments.
        **kwargs: its arguments.

    Raises:
        NotInProcess: there is no live process to own it.
    """
    child = define(function, "spawn()")
    body = child.bind(args, kwargs)
    parent = _live_parent(f"spawn({child.name})")
    return ProcessHandle(parent.begin_child(child.name, child.options, body))


@on_the_loop
def bubble(handle: ProcessHandle[Any], *, source: str | None = None) -> None:
    """Forward a process's events, from the first on, onto the current process's stream.

    Args:
        handle: of the process.
        source: what the events carry; one that has a source of its own gets ``source/its own``.
    """
    process = require_process("bubble()")
    events = handle.events

    async def forward() -> None:
        async for event in events:
            tags = [tag for tag in (source, event.source) if tag]
            process.emit(event.type, event.data, source="/".join(tags) or None)

    process.start(forward, copy_context())


class ProcessHandle(Generic[R]):
    """A running process, as others see it. Awaiting it gives its result or raises its error."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __repr__(self) -> str:
        return f"<ProcessHandle {self.id} {self.name!r}: {self.status}>"

    def __await__(self) -> Generator[Any, None, R]:
        return self._result().__await__()

    async def _result(self) -> R:
        self._process.observe()
        await self._process.ended.wait()
        return cast("R", self._process.unwrap())

    @property
    def id(self) -> str:
        """The process's id in its run."""
        return self._process.id

    @property
    def name(self) -> str:
        """The function's name."""
        return self._process.name

    @property
    def status(self) -> Status:
        """``starting``, ``running``, ``stopping``, ``done``, ``failed`` or ``cancelled``."""
        return self._process.status

    @property
    def events(self) -> EventStream:
        """The process's events, from the first on, as an async-iterable stream."""
        self._process.observe()
        return self._process.events

    @property
    def agents(self) -> dict[str, Agent]:
        """The agents that the process has created so far, by name."""
        return dict(self._process.agents)

    @property
    def endpoints(self) -> list[str]:
        """The endpoints that the process has exposed so far."""
        return sorted(self._process.endpoints)

    def cancel(self) -> None:
        """Ask the process to end. Returns at once; await the handle for its end."""
        self._process.observe()
        self._process.cancel()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Call an endpoint; it runs inside the process, in the context it was exposed in.

        A process that is still setting up gets up to 10 s to expose it.

        Raises:
            EndpointError: no such endpoint, arguments that do not fit, or the process ended.
            Exception: whatever the endpoint raises, as it is.
        """
        endpoint = await self._endpoint(name)
        try:
            values = endpoint.tool.validate(arguments)
        except WrongArguments as error:
            raise EndpointError(f"{self.name}.{name}: {error}") from None
        work: Job[Any] = Job(lambda: endpoint.tool.invoke(values))
        running = self._process.start(work.run, endpoint.context, unbegun=work.cancel)
        await outlast(work.done, running.cancel)
        try:
            return work.outcome()
        except CancelledError:
            ended = "the process ended before the call did"
            why = ended if running.requested else "it was cancelled from within"
            raise EndpointError(f"{self.name}.{name}: {why}") from None

    async def attach(
        self, agent: Agent, *, only: Collection[str] | None = None, prefix: str = ""
    ) -> None:
        """Register the process's endpoints as tools on an agent.

        Args:
            agent: who may call them.
            only: these endpoints; all that are there once the process has set up, unless given.
            prefix: put before each name.

        Raises:
            EndpointError: one of ``only`` is not there.
            InvalidTool: the agent has another tool of such a name; nothing is registered then.
        """
        if only is None:
            await self._settled(lambda: False)
            names = self.endpoints
        else:
            names = list(only)
        endpoints = [await self._endpoint(name) for name in names]
        tools = [self._as_tool(one, f"{prefix}{one.tool.name}") for one in endpoints]
        try:
            agent.offer_all(tools, self._process)
        except InvalidTool as error:
            raise InvalidTool(f"{self.name}.attach(): {error}; give a prefix=") from None

    def _as_tool(self, endpoint: Endpoint, name: str) -> Tool:
        async def call(**arguments: Any) -> Any:
            return await self.call(endpoint.tool.name, **arguments)

        return endpoint.tool.forwarded(name, call)

    async def _endpoint(self, name: str) -> Endpoint:
        endpoints = self._process.endpoints
        await self._settled(lambda: name in endpoints)
        if not self._process.open:
            outcome = self._process.outcome
            error = outcome.error if outcome else None
            why = f": {describe(error)}" if isinstance(error, Exception) else ""
            raise EndpointError(f"{self.name}.{name}: the process has ended{why}") from error
        if name not in endpoints:
            known = ", ".join(self.endpoints) or "none"
            raise EndpointError(f"{self.name} exposes no {name!r}; it exposes: {known}")
        return endpoints[name]

    async def _settled(self, enough: Callable[[], bool]) -> None:
        """Wait while the process may still be setting up, unless there is ``enough`` already."""
        process = self._process
        with anyio.move_on_after(SETTLING):
            while process.alive and not process.settled.is_set() and not enough():
                await process.next_change()


class running(Generic[R]):  # noqa: N801 used like a function
    """``async with ramure.running(main, …) as handle``: a root process beside other code.

    For notebooks, servers and tests. Leaving the block cancels the process where it still runs, and
    waits until all it owned is gone. Its failure is the handle's to raise, not the block's.

    Args:
        function: an ``@agent_process``, or any async function.
        *args: its arguments.
        **kwargs: its arguments.
    """

    def __init__(
        self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        main = define(function, "running()")
        self._root = Root(main.name, main.options, main.bind(args, kwargs))
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> ProcessHandle[R]:
        # The one task that is made here is owned by this object until ``__aexit__`` has awaited it.
        self._task = asyncio.create_task(self._root.run(), name="ramure run")
        try:
            await self._root.begun.wait()
        except CancelledError:
            await self._end()
            raise
        if self._root.process is None:
            await self._task
        return ProcessHandle(cast("Process", self._root.process))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        task = cast("asyncio.Task[Any]", self._task)
        ended = anyio.Event()
        task.add_done_callback(lambda _: ended.set())
        if self._root.process is not None:
            self._root.process.cancel()
        else:
            task.cancel()
        await outlast(ended)
        if not task.cancelled():
            task.exception()  # looked at: the handle is where it is raised
