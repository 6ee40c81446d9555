"""``@agent_process`` and what it gives: calls, handles, observation."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, Generator
from contextvars import copy_context
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import anyio

from ramure.agents.agent import Agent
from ramure.cancellation import Job, outlast
from ramure.errors import EndpointError, UsageError
from ramure.events import EventStream
from ramure.machine import Image
from ramure.placement import HostLike, split_listener
from ramure.processes.process import (
    IDLE_TIMEOUT,
    Endpoint,
    Options,
    Process,
    Status,
    require_process,
    run_child,
)
from ramure.processes.root import Root
from ramure.scope import current, on_the_loop
from ramure.tools import Tool, WrongArguments

P = ParamSpec("P")
R = TypeVar("R")

SETTLING = 10.0
"""Seconds that a call waits for a process that is still setting up to expose the endpoint."""


@overload
def agent_process(function: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...
@overload
def agent_process(
    *,
    image: Image | str | None = None,
    timeout: float | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    host: HostLike | None = None,
    port: int | None = None,
    base_url: str | None = None,
    idle_timeout: float | None = IDLE_TIMEOUT,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
def agent_process(function: Callable[..., Awaitable[Any]] | None = None, /, **given: Any) -> Any:
    """Make an async function a process.

    Called outside any process it is a root: it starts a run and ends it. Called inside one, it is a
    child of that process. Works with and without arguments:

    Args:
        function: the function, where the decorator is used without arguments.
        **given: the arguments below.

            image: what machines start from, for this process and those beneath it.
            timeout: seconds; then the process ends with ``ProcessTimeout``.
            log_dir: where a root's log folder is, in place of ``~/.ramure/logs/{id}``.
            host: where machines are made. As in ramure 0.0.x, a bare IP address or ``localhost``
                is where a root listens for agents by WebSocket.
            port: a root listens for agents on this port by WebSocket.
            base_url: the URL that agents are told.
            idle_timeout: seconds after which ``wait()`` gives up where nothing can happen any
                more; None waits for ever.

    Raises:
        UsageError: it is not an async function.
    """
    options = _options(**given)

    def decorate(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        if not inspect.iscoroutinefunction(function):
            raise UsageError(f"@agent_process: {function!r} is not an async function")

        @functools.wraps(function)
        async def process(*args: Any, **kwargs: Any) -> Any:
            body = _bind(function, args, kwargs)
            if current.get(None) is None:
                return await Root(function.__name__, options, body).run()
            parent = _live_parent(function.__name__)
            return await run_child(parent.begin_child(function.__name__, options, body))

        cast("Any", process).ramure_process = (function, options)
        return process

    return decorate if function is None else decorate(function)


def _options(
    *,
    image: Image | str | None = None,
    timeout: float | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    host: HostLike | None = None,
    port: int | None = None,
    base_url: str | None = None,
    idle_timeout: float | None = IDLE_TIMEOUT,
) -> Options:
    for name, seconds in (("timeout", timeout), ("idle_timeout", idle_timeout)):
        if seconds is not None and seconds <= 0:
            raise UsageError(f"@agent_process: {name}={seconds!r} is not a positive time")
    machines, listener = split_listener(host, port, base_url)
    return Options(image, timeout, log_dir, machines, listener, idle_timeout)


def _bind(
    function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[], Awaitable[Any]]:
    """The body of a process. Wrong arguments are a TypeError here, before anything is started."""
    inspect.signature(function).bind(*args, **kwargs)
    return functools.partial(function, *args, **kwargs)


def _live_parent(name: str) -> Process:
    parent = require_process(f"{name}()")
    if not parent.alive:
        raise UsageError(f"{name}(): the process {parent.name!r} is ending and starts nothing new")
    return parent


@on_the_loop
def spawn(
    function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
) -> ProcessHandle[R]:
    """Run a process in the background, as a child of the current one.

    Args:
        function: an ``@agent_process``, or any async function (run with default options).
        *args: its arguments.
        **kwargs: its arguments.

    Raises:
        NotInProcess: there is no live process to own it.
    """
    inner, options = getattr(function, "ramure_process", (function, Options()))
    if not inspect.iscoroutinefunction(inner):
        raise UsageError(f"spawn(): {function!r} is not an async function")
    body = _bind(inner, args, kwargs)
    child = _live_parent(f"spawn({inner.__name__})").begin_child(inner.__name__, options, body)
    return ProcessHandle(child)


@on_the_loop
def bubble(handle: ProcessHandle[Any], *, source: str | None = None) -> None:
    """Forward a process's events, from the first on, onto the current process's stream.

    They carry ``source``; one that has a source of its own gets ``source/its own``.
    """
    process = require_process("bubble()")

    async def forward() -> None:
        async for event in handle.events:
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
        self._process.observed = True
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
        self._process.observed = True
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
        self._process.observed = True
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
        running = self._process.start(work.run, endpoint.context)
        await outlast(work.done, running.cancel)
        try:
            return work.outcome()
        except CancelledError:
            text = f"{self.name}.{name}: the process ended before the call did"
            raise EndpointError(text) from None

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
        """
        if only is None:
            await self._settled(lambda: False)
            names = self.endpoints
        else:
            names = list(only)
        for name in names:
            endpoint = await self._endpoint(name)
            agent.offer(self._as_tool(endpoint, f"{prefix}{name}"))

    def _as_tool(self, endpoint: Endpoint, name: str) -> Tool:
        async def call(**arguments: Any) -> Any:
            return await self.call(endpoint.tool.name, **arguments)

        return endpoint.tool.forwarded(name, call)

    async def _endpoint(self, name: str) -> Endpoint:
        endpoints = self._process.endpoints
        await self._settled(lambda: name in endpoints)
        if not self._process.open:
            raise EndpointError(f"{self.name}.{name}: the process has ended")
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
        inner, options = getattr(function, "ramure_process", (function, Options()))
        self._root = Root(inner.__name__, options, _bind(inner, args, kwargs))
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
