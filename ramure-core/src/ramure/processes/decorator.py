"""``@agent_process``: it makes a function a process, and imports what that needs once it runs."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from ramure.errors import UsageError
from ramure.processes.functions import define
from ramure.processes.requests import IDLE_TIMEOUT, Options

if TYPE_CHECKING:
    from ramure.machine import Image
    from ramure.placement import HostLike

P = ParamSpec("P")
R = TypeVar("R")


@overload
def agent_process(
    function: Callable[P, Awaitable[R]], /
) -> Callable[P, Coroutine[Any, Any, R]]: ...
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
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]: ...
def agent_process(function: Callable[..., Awaitable[Any]] | None = None, /, **given: Any) -> Any:
    """Make an async function a process.

    Called outside any process it is a root: it starts a run and ends it. Called inside one, it is a
    child of that process, and what concerns the run is its root's: ``log_dir``, ``port``,
    ``base_url`` and an address as ``host`` are left aside then, and the run's log says so. Works
    with and without arguments:

    Args:
        function: the function, where the decorator is used without arguments.
        **given: the arguments below.

            * ``image``: what machines start from, for this process and those beneath it.
            * ``timeout``: seconds; then the process ends with ``ProcessTimeout``.
            * ``log_dir``: where a root's log folder is, in place of ``~/.ramure/logs/{id}``.
            * ``host``: where machines are made. As in ramure 0.0.x, a bare IP address or
              ``localhost`` is where a root listens for agents by WebSocket.
            * ``port``: a root listens for agents on this port by WebSocket.
            * ``base_url``: the URL that agents are told.
            * ``idle_timeout``: seconds after which ``wait()`` gives up where nothing can happen any
              more; None waits for ever.

    Raises:
        UsageError: it is not an async function.
    """
    options = _options(**given)

    def decorate(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        definition = define(function, "@agent_process", options)

        @functools.wraps(function)
        async def process(*args: Any, **kwargs: Any) -> Any:
            from ramure.processes.handle import call

            return await call(definition.name, definition.options, definition.bind(args, kwargs))

        cast("Any", process).ramure_process = definition
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
    if host is None and port is None and base_url is None:
        return Options(image, timeout, log_dir, idle_timeout=idle_timeout)
    from ramure.placement import split_listener

    machines, listener = split_listener(host, port, base_url)
    return Options(image, timeout, log_dir, machines, listener, idle_timeout)
