"""The current process, as far as the lower parts need to know it.

``agent.on`` belongs to the process in which it runs, and its handlers act on that process whoever
calls them. So every process is a ``Scope``, and the one that code runs in is a context variable,
captured with the context of each handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from ramure.cancellation import Interruption
from ramure.errors import NotInProcess

P = ParamSpec("P")
R = TypeVar("R")


class Scope(Protocol):
    """What an agent or a tool needs of the process that owns it."""

    id: str
    name: str

    @property
    def open(self) -> bool:
        """True until the process has ended and its handlers' time to finish is over."""

    def start(self, work: Callable[[], Awaitable[None]], context: Context) -> Interruption:
        """Run ``work`` as a task of this process, in ``context``; counts as activity."""

    def crash(self, error: BaseException) -> None:
        """Fail the process: ``wait()`` raises the error, or its body is cancelled."""

    def emit(self, type: str, data: Any = None) -> object:  # noqa: A002 the public name
        """Emit an event on the process's stream."""


current: ContextVar[Scope] = ContextVar("ramure_process")


def on_the_loop(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of the event loop's be called from a worker thread, too.

    Tools that are not async run in one, and call ``done`` and ``emit`` all the same.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            from anyio import NoEventLoopError, from_thread

            try:
                return from_thread.run_sync(partial(function, *args, **kwargs))
            except NoEventLoopError:
                pass  # no thread of ours: the function itself says what it needs
        return function(*args, **kwargs)

    return call


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
    return scope
