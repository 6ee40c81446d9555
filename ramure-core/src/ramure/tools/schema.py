"""Types to JSON Schema and a validator. The only file that imports pydantic: import it late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from ramure.errors import InvalidTool

Validate = Callable[[Any], dict[str, Any]]
Schema = dict[str, Any]

# Models send numbers where they mean text ("id": 5) more often than they mean a mistake.
_CONFIG = core_schema.CoreConfig(coerce_numbers_to_str=True)
_REFUSED = (PydanticUserError, PydanticUndefinedAnnotation, TypeError)


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of field names: they cost tokens and say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def compile_object(
    hints: Mapping[str, Any], required: frozenset[str], extra: Any = None
) -> tuple[Validate, Schema]:
    """A validator and the JSON Schema of an object with these fields.

    Args:
        hints: the type of each field.
        required: the fields that must be there.
        extra: the type of all further fields; None where there may be none.

    Raises:
        InvalidTool: a type that no JSON value can be turned into; the message names the field.
    """

    class Fields:
        @classmethod
        def __get_pydantic_core_schema__(
            cls, _source: Any, handler: GetCoreSchemaHandler
        ) -> CoreSchema:
            fields = {
                name: core_schema.typed_dict_field(handler(hint), required=name in required)
                for name, hint in hints.items()
            }
            return core_schema.typed_dict_schema(
                fields,
                config=_CONFIG,
                extra_behavior="forbid" if extra is None else "allow",
                extras_schema=None if extra is None else handler(extra),
            )

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Fields)
        schema = adapter.json_schema(schema_generator=_Untitled)
    except _REFUSED as error:
        raise _blame(hints, extra, error) from error
    schema.setdefault("properties", {})
    return adapter.validator.validate_python, schema


def _blame(hints: Mapping[str, Any], extra: Any, error: Exception) -> InvalidTool:
    """Find the field that the error is about."""
    for name, hint in {**hints, "**": extra}.items():
        try:
            TypeAdapter(hint).json_schema()
        except _REFUSED as own:
            reason = str(own).split("\n", 1)[0]
            return InvalidTool(
                f"parameter {name!r}: no {_shown(hint)} can be made of what a model sends: {reason}"
            )
    return InvalidTool(str(error))


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def is_field(default: object) -> bool:
    """True for ``x: int = Field(3)``, which is not a default value."""
    return isinstance(default, FieldInfo)


def description_of(metadata: object) -> str | None:
    """What ``Annotated[int, metadata]`` says: text, ``Field(description=…)`` or ``Doc(…)``."""
    if isinstance(metadata, str):
        return metadata
    said = getattr(metadata, "description", None) or getattr(metadata, "documentation", None)
    return said if isinstance(said, str) else None
