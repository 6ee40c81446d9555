"""What a callable stands for as a process: its name, its options, and what runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ramure.errors import UsageError
from ramure.processes.requests import Options

Body = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Definition:
    """What ``@agent_process`` leaves at a function."""

    name: str
    options: Options
    function: Callable[..., Awaitable[Any]]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Body:
        """The body of a process. Wrong arguments are a TypeError here, and nothing is started."""
        inspect.signature(self.function).bind(*args, **kwargs)
        return functools.partial(self.function, *args, **kwargs)


def define(function: Callable[..., Any], what: str, options: Options | None = None) -> Definition:
    """What is to run for a function, bound method or ``partial``, decorated or not.

    Args:
        function: what the program gave.
        what: to whom.
        options: of a function that has none yet.

    Raises:
        UsageError: it is not async.
    """
    found = _find(function, options or Options())
    if not inspect.iscoroutinefunction(found.function):
        raise UsageError(f"{what}: {function!r} is not an async function")
    return found


def _find(function: Callable[..., Any], options: Options) -> Definition:
    if isinstance(function, functools.partial):
        inner = _find(function.func, options)
        return _with(inner, *function.args, **function.keywords)
    found: Definition | None = getattr(function, "ramure_process", None)
    if found is None:
        return Definition(getattr(function, "__name__", type(function).__name__), options, function)
    # A bound method shows what was left at its function, which knows of no object.
    return _with(found, function.__self__) if inspect.ismethod(function) else found


def _with(found: Definition, /, *args: Any, **kwargs: Any) -> Definition:
    return replace(found, function=functools.partial(found.function, *args, **kwargs))
