"""One tool: a Python function that agents call."""

from __future__ import annotations

import asyncio
import inspect
import re
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from ramure.errors import InvalidTool
from ramure.tools import docstrings
from ramure.tools.arguments import Arguments, WrongArguments
from ramure.tools.result import describe, text_of
from ramure.tools.signature import underlying

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
"""What every model's provider takes as the name of a tool."""

_THREADS = 200
"""Functions that are not async and run at the same time. Apart from anyio's own 40 threads, so that
slow tools keep nothing else waiting."""

_threads: RunVar[anyio.CapacityLimiter] = RunVar("ramure_tool_threads")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of a tool gave.

    Attributes:
        ok: the function returned.
        text: for the model: the result, or an error that it can act on.
        value: what the function returned.
        error: what it raised, or what kept it from being called.
    """

    ok: bool
    text: str
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model can call. Make one with ``Tool.of``.

    Attributes:
        name: what the model calls.
        description: what the model is told about it.
        timeout: seconds that one call may take; None for no limit.
    """

    name: str
    description: str
    timeout: float | None
    _function: Callable[..., Any]
    _is_async: bool
    _arguments: Arguments

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Make a tool of a function; its annotations say what it takes.

        An ``async`` function runs on the event loop; any other in a worker thread, which goes on by
        itself where the call is given up.

        Args:
            function: a function, bound method, ``partial`` or object with ``__call__``.
            name: the function's own where it is not given.
            description: its docstring where it is not given; what that says of parameters goes to
                them.
            timeout: seconds that one call may take.

        Raises:
            InvalidTool: a model could not call it; the message says why.
        """
        definition = underlying(function)
        name = name or _name(function)
        if not _NAME.fullmatch(name):
            raise InvalidTool(
                f"tool name {name!r}: use a letter, then letters, digits, _ or -, 64 at most"
            )
        if inspect.isgeneratorfunction(definition) or inspect.isasyncgenfunction(definition):
            raise InvalidTool(f"tool {name!r} yields; a tool returns its one result")
        if timeout is not None and not timeout > 0:
            raise InvalidTool(f"tool {name!r}: timeout={timeout!r} must be more than 0 seconds")
        said, _ = docstrings.read(definition.__doc__ or "")
        return cls(
            name=name,
            description=description or said or f"{name.replace('_', ' ').capitalize()}.",
            timeout=timeout,
            _function=function,
            _is_async=_is_async(function),
            _arguments=Arguments(function, name),
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON Schema of the object that a call gives."""
        return self._arguments.schema

    def validate(self, arguments: Any) -> dict[str, Any]:
        """The arguments as the function's annotations say.

        Args:
            arguments: a mapping, or JSON text of an object.

        Raises:
            WrongArguments: they do not fit; the message tells a model what to change.
        """
        return self._arguments.validate(arguments)

    def forwarded(self, name: str, function: Callable[..., Awaitable[Any]]) -> Tool:
        """A tool of another name that takes the same and passes it on to ``function``."""
        if not _NAME.fullmatch(name):
            raise InvalidTool(
                f"tool name {name!r}: use a letter, then letters, digits, _ or -, 64 at most"
            )
        return replace(self, name=name, _function=function, _is_async=True)

    async def run(self, arguments: Any) -> Outcome:
        """Validate, call, and turn what comes of it into text.

        Only cancellation of the calling task and what must end the program (KeyboardInterrupt, …)
        are raised; a ``CancelledError`` of the function's own is an error like others.
        """
        try:
            given = self.validate(arguments)
            if self.timeout is None:
                value = await self.invoke(given)
            else:
                with anyio.move_on_after(self.timeout) as deadline:
                    value = await self.invoke(given)
                if deadline.cancelled_caught:
                    return self._timed_out()
        except CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return Outcome(ok=False, text=f"{self.name} was cancelled from within", error=error)
        except WrongArguments as error:
            return Outcome(ok=False, text=str(error), error=error)
        except Exception as error:  # noqa: BLE001 whatever a handler raises is the model's to read
            return Outcome(ok=False, text=describe(error), error=error)
        return Outcome(ok=True, text=text_of(value), value=value)

    async def invoke(self, given: dict[str, Any]) -> Any:
        """Call the function with what ``validate`` gave; what it raises leaves as it is."""
        if self._is_async:
            return await self._function(**given)
        call = partial(self._function, **given)
        value = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=_limiter())
        return await value if inspect.isawaitable(value) else value

    def _timed_out(self) -> Outcome:
        text = f"{self.name} took longer than its limit of {self.timeout:g} s and was stopped"
        return Outcome(ok=False, text=text, error=TimeoutError(text))


def _limiter() -> anyio.CapacityLimiter:
    limiter = _threads.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_THREADS)
        _threads.set(limiter)
    return limiter


def _name(function: Callable[..., Any]) -> str:
    """The function's own; the class's for an object that is called."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 an object with an async __call__
    )
