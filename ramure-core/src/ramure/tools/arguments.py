"""The arguments of a tool: checked at each call, with words a model can act on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from ramure.errors import InvalidTool
from ramure.tools import signature

if TYPE_CHECKING:
    from ramure.tools.schema import Schema

_MAX_ERRORS = 8
_MAX_SHOWN = 120
"""Characters of a wrong value that are repeated to the model."""


class WrongArguments(ValueError):
    """Arguments that do not fit a tool. The message tells a model what to change."""


class Arguments:
    """The arguments of one tool.

    Attributes:
        schema: JSON Schema of an object.
    """

    __slots__ = ("_required", "_title", "_validate", "schema")

    def __init__(self, function: Callable[..., Any], title: str) -> None:
        """Read what ``function`` takes; ``title`` names it in messages.

        Raises:
            InvalidTool: a model could not call it; the message says why.
        """
        self._title = title
        try:
            shape, schema = signature.read(function)
        except InvalidTool as error:
            raise InvalidTool(f"tool {title!r}: {error}") from error.__cause__
        self._validate = shape.validate
        self._required = shape.required
        self.schema: Schema = schema

    def validate(self, given: Any) -> dict[str, Any]:
        """The arguments as the function's annotations say.

        Lax where it is safe: ``"5"`` for an integer, ``5`` for text, an ISO date, JSON text where
        an object or a list is expected. ``null`` or ``""`` for an optional argument that cannot
        be that means that it was not given.

        Raises:
            WrongArguments: they do not fit; nothing was called.
        """
        if not isinstance(given, dict):
            given = self._object(given)
        try:
            return self._validate(given)
        except ValueError as error:  # pydantic's ValidationError is one
            errors = cast("Any", error).errors(include_url=False)
        mended = self._mend(given, errors)
        if mended != given:
            try:
                return self._validate(mended)
            except ValueError as error:
                errors = cast("Any", error).errors(include_url=False)
        raise WrongArguments(self._explain(mended, errors))

    def _object(self, given: Any) -> dict[str, Any]:
        if isinstance(given, str | bytes) and given:
            try:
                given = json.loads(given)
            except ValueError as error:
                raise WrongArguments(
                    f"{self._title}: the arguments are not JSON: {error}"
                ) from None
        if given is None or given in ("", b""):
            given = {}
        if isinstance(given, Mapping):
            return dict(given)
        raise WrongArguments(
            f"{self._title}: the arguments must be one JSON object, not {_json(given)}."
            f" {self._usage()}"
        )

    def _mend(self, given: dict[str, Any], errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Read again what models commonly get wrong, in arguments that did not fit as they are."""
        mended = dict(given)
        for name in {error["loc"][0] for error in errors if error["loc"]}:
            value = given.get(name)
            if value is None or value == "":
                if name not in self._required:
                    mended.pop(name, None)
            elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                try:
                    mended[name] = json.loads(value)
                except ValueError:
                    continue
        return mended

    def _explain(self, given: dict[str, Any], errors: Sequence[Mapping[str, Any]]) -> str:
        """Everything that is wrong, one argument a line, and how to call it right."""
        lines: dict[str, list[str]] = {}
        for error in errors:
            path, line = self._complaint(given, error)
            if line not in lines.setdefault(path, []):
                lines[path].append(line)
        shown = [f"- {path}: {'; or '.join(said)}" for path, said in lines.items()]
        if len(shown) > _MAX_ERRORS:
            shown[_MAX_ERRORS:] = [f"- and {len(shown) - _MAX_ERRORS} more"]
        return "\n".join([f"{self._title} was not called: wrong arguments", *shown, self._usage()])

    def _complaint(self, given: dict[str, Any], error: Mapping[str, Any]) -> tuple[str, str]:
        path = _path(given, error)
        match error["type"]:
            case "missing":
                return path, "missing"
            case "extra_forbidden" if len(error["loc"]) == 1:
                near = get_close_matches(path, self.schema["properties"], 1)
                return path, f"unknown argument{f', did you mean {near[0]!r}?' if near else ''}"
            case _:
                reason = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
                return path, f"{reason}, not {_json(error['input'])}"

    def _usage(self) -> str:
        """The call as people would note it: ``It takes: text (string), n (integer, optional)``."""
        fields = self.schema["properties"]
        if not fields:
            return "It takes no arguments."
        shown = (
            f"{name} ({_type(field, self.schema)}{'' if name in self._required else ', optional'})"
            for name, field in fields.items()
        )
        return f"It takes: {', '.join(shown)}."


def _path(given: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    """``items[0].name``; without the names of union members, which are no part of the input."""
    location: Sequence[str | int] = error["loc"]
    if not location:
        return "arguments"
    path, value = str(location[0]), given.get(str(location[0]))
    for step in location[1:]:
        if isinstance(step, int) and isinstance(value, list):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(value, dict) and step in value:
            path, value = f"{path}.{step}", value[step]
    return f"{path}.{location[-1]}" if error["type"] == "missing" and location[1:] else path


def _type(field: Schema, schema: Schema) -> str:
    """A JSON Schema in a word or two."""
    if name := field.get("$ref"):
        return _type(schema.get("$defs", {}).get(name.rpartition("/")[2], {}), {})
    if choices := field.get("enum") or ("const" in field and [field["const"]]):
        return " or ".join(map(_json, choices))
    if members := field.get("anyOf") or field.get("oneOf"):
        words = dict.fromkeys(_type(m, schema) for m in members if m.get("type") != "null")
        return " or ".join(words)
    if field.get("type") == "array" and field.get("items"):
        return f"array of {_type(field['items'], schema)}"
    return str(field.get("type", "any"))


def _json(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
