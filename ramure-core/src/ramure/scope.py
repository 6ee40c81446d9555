"""The current process, as far as the lower parts need to know it.

``agent.on`` belongs to the process in which it runs, and its handlers act on that process whoever
calls them. So every process is a ``Scope``, and the one that code runs in is a context variable,
captured with the context of each handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import wait
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from ramure.cancellation import Interruption
from ramure.errors import NotInProcess

P = ParamSpec("P")
R = TypeVar("R")

LOOK_AFTER = 1.0
"""Seconds between two looks of a waiting thread at whether the event loop is still there."""


class Scope(Protocol):
    """What an agent or a tool needs of the process that owns it."""

    id: str
    name: str
    loop: asyncio.AbstractEventLoop
    """The event loop it lives on: nothing of it may be touched from another thread."""

    @property
    def open(self) -> bool:
        """True until the process has ended and its handlers' time to finish is over."""

    @property
    def has_children(self) -> bool:
        """True while a child process of it is at work."""

    def start(
        self,
        work: Callable[[], Awaitable[None]],
        context: Context,
        unbegun: Callable[[], object] = lambda: None,
    ) -> Interruption:
        """Run ``work`` as a task of this process, in ``context``; counts as activity.

        ``unbegun`` is called where the process's end comes before the first step of ``work``,
        which is never taken then.
        """

    def crash(self, error: BaseException) -> None:
        """Fail the process: ``wait()`` raises the error, or its body is cancelled."""

    def emit(self, type: str, data: Any = None) -> object:  # noqa: A002 the public name
        """Emit an event on the process's stream."""


current: ContextVar[Scope] = ContextVar("ramure_process")


@dataclass(slots=True, eq=False)
class Calling:
    """A tool call that is being handled.

    Attributes:
        owner: the process of the agent that calls.
        final: the handler has said ``done`` or ``fail`` for that process: the agent's work is over.
    """

    owner: Scope
    final: bool = False


calling: ContextVar[Calling] = ContextVar("ramure_call")
"""The call that the current code handles, where it does."""


def on_the_loop(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of the event loop's be called from any thread that has a process's context.

    Tools that are not async run in a worker thread, and so does what ``asyncio.to_thread`` runs:
    they call ``done``, ``emit`` and ``spawn`` all the same, and get what these give or raise.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        scope = current.get(None)
        if scope is None or _running_loop() is not None:
            return function(*args, **kwargs)
        return _hop(scope, partial(function, *args, **kwargs))

    return call


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _hop(scope: Scope, function: Callable[[], R]) -> R:
    """Call it in a task on the scope's loop, which must not wait for this thread meanwhile."""

    async def call() -> R:
        return function()

    calling = call()
    try:
        future = asyncio.run_coroutine_threadsafe(calling, scope.loop)
    except RuntimeError:
        calling.close()
        raise _ended(scope) from None
    while not future.done():
        wait([future], timeout=LOOK_AFTER)
        if scope.loop.is_closed() and not future.done():
            raise _ended(scope)
    return future.result()


def _ended(scope: Scope) -> NotInProcess:
    return NotInProcess(f"the process {scope.name!r} has ended, and so has its event loop")


def require(what: str) -> Scope:
    """The current live process.

    Raises:
        NotInProcess: there is none; the message names ``what`` was called.
    """
    scope = current.get(None)
    if scope is None:
        raise NotInProcess(
            f"{what} works only inside a process: call it in a function decorated with "
            "@agent_process while that runs, or in a handler or an endpoint of it"
        )
    if not scope.open:
        raise NotInProcess(
            f"{what}: the process {scope.name!r} has ended; what is to happen in it has to be "
            "awaited there before its function returns"
        )
    if scope.loop is not _running_loop():
        raise NotInProcess(
            f"{what}: the process {scope.name!r} runs on another event loop; a thread that starts "
            "runs of its own must not inherit its context (threading.Thread does not)"
        )
    return scope
