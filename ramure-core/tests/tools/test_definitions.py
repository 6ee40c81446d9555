"""What a function becomes for a model (name, description, schema), and what cannot be a tool."""

import functools
import json
import threading
import typing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pydantic
import pytest

from ramure.errors import InvalidTool
from ramure.tools import Tool, WrongArguments
from tool_values import Colour, Item, Options, Point, finish

HANGS = 20
"""Seconds after which something hangs."""


def field(annotation, default=...):
    """The schema of one parameter with this annotation."""

    async def tool(x): ...

    tool.__annotations__["x"] = annotation
    if default is not ...:
        tool.__defaults__ = (default,)
    return Tool.of(tool).parameters["properties"]["x"]


def test_a_function_becomes_a_definition():
    tool = Tool.of(finish)
    assert tool.name == "finish"
    assert tool.description == "Call with your result."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "summary": {"type": "string"},
            "count": {"type": "integer", "default": 3},
        },
        "required": ["summary"],
        "additionalProperties": False,
    }


def test_what_is_given_wins_over_the_function():
    tool = Tool.of(finish, name="the-end", description="Ends it.", timeout=2)
    assert (tool.name, tool.description, tool.timeout) == ("the-end", "Ends it.", 2)


def test_a_function_without_parameters_takes_an_empty_object():
    async def ping(): ...

    tool = Tool.of(ping)
    assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool.validate({}) == {}
    assert tool.description == "Ping."


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, {"type": "integer"}),
        (Any, {}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (
            Optional[str],  # noqa: UP045 what users write
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Path, {"type": "string", "format": "path"}),
        (datetime, {"type": "string", "format": "date-time"}),
        ("int", {"type": "integer"}),
        (Annotated[int, pydantic.Field(ge=1)], {"type": "integer", "minimum": 1}),
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (
            Annotated[int, pydantic.Field(description="how many")],
            {"type": "integer", "description": "how many"},
        ),
    ],
    ids=str,
)
def test_annotations(annotation, expected):
    assert field(annotation) == expected


def test_no_annotation_takes_anything():
    async def tool(x): ...

    assert Tool.of(tool).parameters["properties"] == {"x": {}}
    assert Tool.of(tool).validate({"x": [1, "a"]}) == {"x": [1, "a"]}


def test_a_default_of_none_means_optional():
    assert field(str, None)["anyOf"] == [{"type": "string"}, {"type": "null"}]
    described = field(Annotated[str, pydantic.Field(description="d", min_length=2)], None)
    assert described["description"] == "d"
    assert described["anyOf"][0]["minLength"] == 2


def test_defaults_that_json_can_show_are_shown():
    assert field(Colour, Colour.RED)["default"] == "red"
    assert field(Path, Path("/a"))["default"] == "/a"
    assert field(list[int], [1])["default"] == [1]
    assert "default" not in field(float, float("inf"))
    assert "default" not in field(object, object())


def test_nested_types_have_definitions_and_are_made():
    async def tool(item: Item, point: Point, options: Options, colours: list[Colour]): ...

    made = Tool.of(tool)
    assert set(made.parameters["$defs"]) == {"Item", "Point", "Options", "Colour"}
    assert made.parameters["properties"]["item"] == {"$ref": "#/$defs/Item"}
    json.dumps(made.parameters)
    arguments = {
        "item": {"name": "a", "parts": [{"name": "b"}]},
        "point": {"x": "4"},
        "options": {"depth": 1},
        "colours": ["red", "blue"],
    }
    assert made.validate(arguments) == {
        "item": Item(name="a", parts=[Item(name="b")]),
        "point": Point(4),
        "options": {"depth": 1},
        "colours": [Colour.RED, Colour.BLUE],
    }


def test_names_written_as_text_are_found_where_the_function_is_defined():
    class Local(pydantic.BaseModel):
        x: int

    def inner():
        class Nearer(pydantic.BaseModel):
            y: int

        async def tool(a: "Local", b: "list[Nearer]", c: "Item"): ...

        return Tool.of(tool).validate({"a": {"x": 1}, "b": [{"y": 2}], "c": {"name": "n"}}), Nearer

    made, nearer = inner()
    assert made == {"a": Local(x=1), "b": [nearer(y=2)], "c": Item(name="n")}


def test_the_nearest_of_two_names_is_meant():
    class Spec(pydantic.BaseModel):
        far: int

    def inner():
        class Spec(pydantic.BaseModel):
            near: int

        async def tool(spec: "Spec"): ...

        return Tool.of(tool).validate({"spec": {"near": 1}}) == {"spec": Spec(near=1)}

    assert inner()
    assert Spec(far=1)


def test_a_local_class_is_that_of_the_call():
    def process():
        class Spec(pydantic.BaseModel):
            x: int

        async def tool(spec: "Spec"): ...

        return isinstance(Tool.of(tool).validate({"spec": {"x": 1}})["spec"], Spec)

    assert process()
    assert process()


def test_a_return_annotation_does_not_matter():
    async def tool(x: int) -> "NotThere": ...  # noqa: F821

    assert Tool.of(tool).validate({"x": 1}) == {"x": 1}


class Methods:
    async def method(self, x: int):
        """A method."""
        return x

    @classmethod
    async def of_class(cls, x: int):
        return x

    @staticmethod
    async def static(x: int):
        return x

    async def __call__(self, x: int):
        """Called."""
        return x


def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


async def three(a: str, x: int, b: str = "b"):
    """Three."""
    return x


@pytest.mark.parametrize(
    ("function", "name", "description"),
    [
        (Methods().method, "method", "A method."),
        (Methods.of_class, "of_class", "Of class."),
        (Methods.static, "static", "Static."),
        (Methods(), "Methods", "Called."),
        (functools.partial(three, "a", b="c"), "three", "Three."),
        (functools.partial(functools.partial(three, b="c"), a="a"), "three", "Three."),
        (functools.partial(Methods().method), "method", "A method."),
        (functools.partial(Methods()), "Methods", "Called."),
        (decorated(functools.partial(three, "a", b="c").func), "three", "Three."),
    ],
)
async def test_everything_that_can_be_called(function, name, description):
    tool = Tool.of(function)
    assert (tool.name, tool.description) == (name, description)
    if "a" in tool.parameters["properties"]:
        tool = Tool.of(functools.partial(function, a="a", b="b"))
    assert tool.parameters["properties"] == {"x": {"type": "integer"}}
    outcome = await tool.run({"x": 5})
    assert outcome.ok
    assert outcome.value == 5


async def test_keyword_only_and_further_arguments():
    async def tool(*, x: int, **rest: int):
        return {"x": x, **rest}

    made = Tool.of(tool)
    assert made.parameters["additionalProperties"] == {"type": "integer"}
    assert (await made.run({"x": 1, "y": "2"})).value == {"x": 1, "y": 2}
    with pytest.raises(WrongArguments, match=r"- y: should be a valid integer.*\"z\""):
        made.validate({"x": 1, "y": "z"})

    async def untyped(**rest): ...

    assert Tool.of(untyped).parameters["additionalProperties"] is True


async def positional(x, /): ...
async def starred(*paths): ...
async def yields():
    yield 1


async def callback(fn: typing.Callable[[int], int]): ...
async def takes_lock(lock: threading.Event): ...
async def unresolved(x: "Nowhere"): ...  # noqa: F821
async def field_default(x: int = pydantic.Field(3)): ...
def generator():
    yield 1


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (positional, {}, "tool 'positional': parameter 'x' is positional-only"),
        (starred, {}, r"takes \*paths; arguments come by name, so use a list parameter"),
        (yields, {}, "tool 'yields' yields; a tool returns its one result"),
        (generator, {}, "tool 'generator' yields"),
        (callback, {}, "tool 'callback': parameter 'fn'"),
        (takes_lock, {}, "parameter 'lock': no Event can be made of what a model sends"),
        (unresolved, {}, "parameter 'x': its annotation 'Nowhere' cannot be read.*imported"),
        (field_default, {}, r"parameter 'x': write x: Annotated\[<type>, Field"),
        (lambda: None, {}, "tool name '<lambda>'"),
        (finish, {"name": "9lives"}, "tool name '9lives'"),
        (finish, {"name": "a" * 65}, "64 at most"),
        (finish, {"name": "a b"}, "a letter, then"),
        (finish, {"name": "a\n"}, "a letter, then"),
        (finish, {"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        (len, {}, "is not a function written in Python"),
        (dict, {}, "is not a function written in Python"),
        (Methods, {}, "is not a function written in Python"),
        ("finish", {}, "'finish' is not a function"),
    ],
)
def test_what_cannot_become_a_tool(function, options, message):
    with pytest.raises(InvalidTool, match=message):
        Tool.of(function, **options)
