"""What a function takes, read from its signature."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from ramure.errors import InvalidTool
from ramure.tools import docstrings

if TYPE_CHECKING:
    from ramure.tools.schema import Schema, Validate

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the compiled part depends on, and the compiled part."""

    hints: dict[str, Any]
    required: frozenset[str]
    extra: Any
    validate: Validate
    schema: Schema


# By code, not by function: a handler defined in a process's body is a new function each time the
# process runs, with the same code. A few shapes each, as annotations may depend on the outer call.
_shapes: WeakKeyDictionary[CodeType, list[Shape]] = WeakKeyDictionary()
_SHAPES_EACH = 8


def underlying(function: Function) -> FunctionType:
    """The ``def`` beneath partials, bound methods, wrappers and objects with ``__call__``.

    Raises:
        InvalidTool: there is none: a class, or a function written in C.
    """
    found: Any = function
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        if isinstance(found, partial):
            found = found.func
        elif hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        elif inspect.ismethod(found):
            found = found.__func__
        elif isinstance(getattr(type(found), "__call__", None), FunctionType):  # noqa: B004 a def
            found = type(found).__call__
        else:
            raise InvalidTool(f"{function!r} is not a function written in Python")
    return found


def read(function: Function) -> tuple[Shape, Schema]:
    """The compiled part, and the JSON Schema with this function's descriptions and defaults.

    Raises:
        InvalidTool: a model could not call it; the message says why.
    """
    definition = underlying(function)
    parameters = _parameters(function)
    extra = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    named = [p for p in parameters if p is not extra]
    hints = {p.name: _hint(p, definition) for p in named}
    shape = _shape(
        definition.__code__,
        {p.name: _with_default(hints[p.name], p) for p in named},
        frozenset(p.name for p in named if p.default is p.empty),
        None if extra is None else _hint(extra, definition),
    )
    _, said = docstrings.read(definition.__doc__ or "")
    return shape, _annotate(shape.schema, named, hints, said)


def _parameters(function: Function) -> list[inspect.Parameter]:
    """Those that a model gives: without ``self``, and without what a ``partial`` has given."""
    given = _given(function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise InvalidTool(f"its signature cannot be read: {error}") from error
    for p in parameters:
        if p.kind is p.POSITIONAL_ONLY:
            raise InvalidTool(f"parameter {p.name!r} is positional-only; arguments come by name")
        if p.kind is p.VAR_POSITIONAL:
            raise InvalidTool(f"takes *{p.name}; arguments come by name, so use a list parameter")
    return [p for p in parameters if p.name not in given]


def _given(function: Function) -> set[str]:
    given: set[str] = set()
    while isinstance(function, partial):
        given.update(function.keywords)
        function = function.func
    return given


def _hint(parameter: inspect.Parameter, definition: FunctionType) -> Any:
    """The parameter's type; text is read where the function was defined, local classes too."""
    from ramure.tools.schema import is_field

    annotation, name = parameter.annotation, parameter.name
    if is_field(parameter.default):
        raise InvalidTool(f"parameter {name!r}: write {name}: Annotated[<type>, Field(…)]")
    if annotation is parameter.empty:
        return Any
    if isinstance(annotation, type):
        return annotation
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        local = _enclosing(definition) if "<locals>" in definition.__qualname__ else {}
        hints = get_type_hints(holder, definition.__globals__, local, include_extras=True)
    except Exception as error:  # an annotation is any expression, and may raise anything
        raise InvalidTool(
            f"parameter {name!r}: its annotation {annotation!r} cannot be read: {error}."
            " Names in it must be imported when the program runs, not only for type checkers"
        ) from error
    return hints["it"]


def _enclosing(definition: FunctionType) -> dict[str, Any]:
    """The variables of the functions around the definition that are running, and its closure."""
    names: dict[str, Any] = {}
    frame = sys._getframe()  # noqa: SLF001 inspect.currentframe() is this with another name
    caller = frame.f_back
    while caller is not None:
        around = f"{caller.f_code.co_qualname}.<locals>."
        if caller.f_globals is definition.__globals__ and definition.__qualname__.startswith(
            around
        ):
            names = {**caller.f_locals, **names}
        caller = caller.f_back
    return names


def _with_default(hint: Any, parameter: inspect.Parameter) -> Any:
    """``x: str = None`` means that None is allowed."""
    return Optional[hint] if parameter.default is None else hint  # noqa: UP045 hint is a value


def _shape(code: CodeType, hints: dict[str, Any], required: frozenset[str], extra: Any) -> Shape:
    known = _shapes.setdefault(code, [])
    for shape in known:
        if (shape.hints, shape.required, shape.extra) == (hints, required, extra):
            return shape
    from ramure.tools.schema import compile_object

    shape = Shape(hints, required, extra, *compile_object(hints, required, extra))
    known[:] = [shape, *known[: _SHAPES_EACH - 1]]
    return shape


def _annotate(
    schema: Schema,
    parameters: Sequence[inspect.Parameter],
    hints: Mapping[str, Any],
    said: Mapping[str, str],
) -> Schema:
    """The schema with what belongs to this function: descriptions and defaults."""
    from ramure.tools.result import jsonable
    from ramure.tools.schema import description_of

    fields: Schema = {}
    for p in parameters:
        field = fields[p.name] = dict(schema["properties"][p.name])
        metadata = get_args(hints[p.name])[1:] if get_origin(hints[p.name]) is Annotated else ()
        words = [*map(description_of, metadata), said.get(p.name)]
        if description := next(filter(None, words), None):
            field["description"] = description
        if p.default is not p.empty and p.default is not None:
            field |= jsonable(p.default, "default")
    return {**schema, "properties": fields}
