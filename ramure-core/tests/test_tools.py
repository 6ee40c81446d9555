"""Tools: from a Python function to a definition, and from a model's call to a result."""

import asyncio
import contextvars
import dataclasses
import enum
import functools
import json
import subprocess
import sys
import threading
import typing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import anyio
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from ramure.errors import InvalidTool
from ramure.tools import Tool, WrongArguments, docstrings, schema, signature

HANGS = 20
"""Seconds after which something hangs."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(pydantic.BaseModel):
    name: str
    price: float = 0.0
    parts: list["Item"] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    depth: int


async def finish(summary: str, count: int = 3):
    """Call with your result."""
    return f"{summary} {count}"


def field(annotation, default=...):
    """The schema of one parameter with this annotation."""

    async def tool(x): ...

    tool.__annotations__["x"] = annotation
    if default is not ...:
        tool.__defaults__ = (default,)
    return Tool.of(tool).parameters["properties"]["x"]


# --- definitions


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


# --- docstrings

GOOGLE = """Search the web.

    Give few words.

    Args:
        query (str): what to look for,
            in plain words: not a URL
        limit (dict[str, tuple(int, ...)], optional): how many

        **rest: more

    Returns:
        What was found.
    """
NUMPY = """Search the web.

    Give few words.

    Parameters
    ----------
    query : str
        what to look for,
        in plain words: not a URL
    limit, rest : int, optional
        how many

    Returns
    -------
    str
    """
SPHINX = """Search the web.

    :param query: what to look for,
        in plain words: not a URL
    :type query: str
    :param int limit: how many
    :returns: what was found
    """


def test_google_docstring():
    description, said = docstrings.read(GOOGLE)
    assert description == "Search the web.\n\nGive few words.\n\nReturns:\n    What was found."
    assert said == {
        "query": "what to look for, in plain words: not a URL",
        "limit": "how many",
        "rest": "more",
    }


def test_numpy_docstring():
    description, said = docstrings.read(NUMPY)
    assert description == "Search the web.\n\nGive few words.\n\nReturns\n-------\nstr"
    assert said == {
        "query": "what to look for, in plain words: not a URL",
        "limit": "how many",
        "rest": "how many",
    }
    assert docstrings.read("A.\n\nParameters\n----------\nx\n    it") == ("A.", {"x": "it"})


def test_sphinx_docstring():
    description, said = docstrings.read(SPHINX)
    assert description == "Search the web.\n\n:returns: what was found"
    assert said == {"query": "what to look for, in plain words: not a URL", "limit": "how many"}


@given(st.text(alphabet="Args:\n prmt-x*()"))
def test_any_docstring_is_read(text):
    docstrings.read(text)


def test_parameters_get_what_the_docstring_says_of_them():
    async def search(query: str, limit: Annotated[int, "nearer"] = 1): ...

    search.__doc__ = GOOGLE
    tool = Tool.of(search)
    fields = tool.parameters["properties"]
    assert fields["query"]["description"] == "what to look for, in plain words: not a URL"
    assert fields["limit"]["description"] == "nearer"
    assert "Args" not in tool.description


# --- validation


def test_arguments_may_be_json_text():
    assert Tool.of(finish).validate('{"summary": "s"}') == {"summary": "s"}


@pytest.mark.parametrize("nothing", [None, "", b"", {}])
def test_no_arguments(nothing):
    async def ping(): ...

    assert Tool.of(ping).validate(nothing) == {}


async def lax(
    n: int = 1,
    flag: bool = False,
    text: str = "t",
    opt: int | None = None,
    items: list[int] = [],  # noqa: B006
    when: date = date(2000, 1, 1),
    either: int | str = 0,
): ...


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"n": "5"}, {"n": 5}),
        ({"n": 5.0}, {"n": 5}),
        ({"flag": "true"}, {"flag": True}),
        ({"text": 5}, {"text": "5"}),
        ({"text": ""}, {"text": ""}),
        ({"opt": None}, {"opt": None}),
        ({"opt": ""}, {}),
        ({"n": None}, {}),
        ({"text": None, "n": "x1", "either": "5"}, None),
        ({"items": "[1, 2]"}, {"items": [1, 2]}),
        ({"items": "[1, 2", "n": 1}, None),
        ({"when": "2026-11-22"}, {"when": date(2026, 11, 22)}),
        ({"either": "5"}, {"either": "5"}),
        ({"n": 5.5}, None),
        ({"n": True, "flag": "perhaps"}, None),
    ],
    ids=str,
)
def test_what_is_coerced(given, expected):
    before = dict(given)
    if expected is None:
        with pytest.raises(WrongArguments):
            Tool.of(lax).validate(given)
    else:
        assert Tool.of(lax).validate(given) == expected
    assert given == before


def wrong(function, given):
    with pytest.raises(WrongArguments) as caught:
        Tool.of(function).validate(given)
    return str(caught.value)


def test_the_message_says_all_that_is_wrong_and_how_to_call():
    assert wrong(finish, {"sumary": "s", "count": "many"}) == (
        "finish was not called: wrong arguments\n"
        "- summary: missing\n"
        "- count: should be a valid integer, unable to parse string as an integer,"
        ' not "many"\n'
        "- sumary: unknown argument, did you mean 'summary'?\n"
        "It takes: summary (string), count (integer, optional)."
    )


def test_the_message_points_into_nested_values():
    async def tool(
        items: list[Item], either: int | Point, colour: Colour, mode: Literal["a", 1]
    ): ...

    message = wrong(
        tool,
        {
            "items": [{"name": "a"}, {"name": "b", "price": "dear", "parts": [{}]}],
            "either": {"x": "q"},
            "colour": "green",
            "mode": None,
        },
    )
    assert message == (
        "tool was not called: wrong arguments\n"
        "- items[1].price: should be a valid number, unable to parse string as a number,"
        ' not "dear"\n'
        "- items[1].parts[0].name: missing\n"
        '- either: should be a valid integer, not {"x": "q"}\n'
        "- either.x: should be a valid integer, unable to parse string as an integer,"
        ' not "q"\n'
        "- colour: should be 'red' or 'blue', not \"green\"\n"
        "- mode: should be 'a' or 1, not null\n"
        "It takes: items (array of object), either (integer or object),"
        ' colour ("red" or "blue"), mode ("a" or 1).'
    )


def test_the_message_stays_short():
    async def tool(items: list[int]): ...

    message = wrong(tool, {"items": ["x" * 10_000] * 100})
    assert len(message) < 3000
    assert "- and 92 more" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], r"finish: the arguments must be one JSON object, not \[1\]. It takes: summary"),
        ("5", "must be one JSON object, not 5"),
        ('{"summary": ', "finish: the arguments are not JSON: Expecting value"),
        (b"\xff", "are not JSON"),
    ],
)
def test_what_is_no_object(given, message):
    with pytest.raises(WrongArguments, match=message):
        Tool.of(finish).validate(given)


def test_a_wrong_object_given_as_text_is_explained_as_an_object():
    async def tool(point: Point): ...

    assert "- point.x: missing" in wrong(tool, {"point": '{"y": 1}'})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values | st.dictionaries(st.sampled_from(["item", "n", "x"]), json_values))
@settings(max_examples=300)
def test_whatever_a_model_sends_is_valid_or_explained(value):
    async def tool(item: Item | list[Point], n: int | None = None): ...

    try:
        Tool.of(tool).validate(value)
    except WrongArguments as error:
        str(error).encode("utf-8", "surrogatepass")


# --- running


async def run(function, arguments=None, **options):
    with anyio.fail_after(HANGS):
        return await Tool.of(function, **options).run(arguments)


def returning(value):
    async def tool():
        return value

    return tool


class Opaque:
    def __repr__(self):
        return "Opaque!"


class Broken:
    def __repr__(self):
        raise RuntimeError


class Named(str, enum.Enum):  # noqa: UP042 what users write
    A = "a"


class Packed(msgspec.Struct):
    x: int


cyclic: list = []
cyclic.append(cyclic)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        (None, "ok"),
        (5, "5"),
        (True, "true"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (float("nan"), "NaN"),
        ([float("inf"), 1.5], '["Infinity",1.5]'),
        ({1}, "[1]"),
        ((1, 2), "[1,2]"),
        (Point(1), '{"x":1,"y":0}'),
        (Item(name="a"), '{"name":"a","price":0.0,"parts":[]}'),
        (Packed(1), '{"x":1}'),
        ([Packed(1)], '[{"x":1}]'),
        (b"bytes", "bytes"),
        (b"\xff", "\ufffd"),
        (Path("/a b"), "/a b"),
        (datetime(2026, 11, 22, tzinfo=UTC), "2026-11-22T00:00:00Z"),
        (Named.A, "a"),
        (Opaque(), "Opaque!"),
        ({"o": Opaque()}, '{"o":"Opaque!"}'),
        (Broken(), "<Broken>"),
        (cyclic, "[[...]]"),
        ("\ud800", "?"),
        ({"a": "\ud800"}, "{'a': '\\ud800'}"),
    ],
    ids=lambda value: ascii(value) if type(value) is str else type(value).__name__,
)
async def test_results_as_text(value, text):
    outcome = await run(returning(value))
    assert outcome.ok
    assert outcome.text == text
    assert type(outcome.text) is str
    assert outcome.value is value
    outcome.text.encode()


def raising(error):
    async def tool():
        raise error

    return tool


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (TimeoutError(), "TimeoutError"),
        (Mute(), "Mute"),
        (
            ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [OSError("b")])]),
            "ExceptionGroup: ValueError: a; ExceptionGroup: OSError: b",
        ),
    ],
    ids=repr,
)
async def test_what_is_raised_is_an_error(error, text):
    outcome = await run(raising(error))
    assert not outcome.ok
    assert outcome.text == text
    assert outcome.error is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_must_end_the_program_passes(error):
    with pytest.raises(error):
        await run(raising(error()))


async def test_wrong_arguments_are_an_outcome_and_call_nothing():
    called = []

    async def tool(x: int):
        called.append(x)

    outcome = await run(tool, {"x": "y"})
    assert not outcome.ok
    assert outcome.text.startswith("tool was not called: wrong arguments\n- x: ")
    assert isinstance(outcome.error, WrongArguments)
    assert called == []


async def test_a_validator_of_the_users_own_that_raises_is_an_outcome():
    def explode(value):
        raise KeyError(value)

    async def tool(x: Annotated[int, pydantic.AfterValidator(explode)]): ...

    assert (await run(tool, {"x": 1})).text == "KeyError: 1"


async def test_defaults_are_the_functions_own():
    made = []

    async def tool(x: list[int] = made):
        return x

    assert (await run(tool, {})).value is made


@pytest.mark.parametrize("timeout", [None, HANGS])
async def test_a_cancellation_from_within_is_an_error(timeout):
    async def tool():
        raise asyncio.CancelledError

    outcome = await run(tool, timeout=timeout)
    assert not outcome.ok
    assert outcome.text == "tool was cancelled from within"


async def test_awaiting_a_cancelled_task_is_an_error():
    async def tool():
        task = asyncio.create_task(anyio.sleep_forever())
        await asyncio.sleep(0)
        task.cancel()
        await task

    assert not (await run(tool)).ok


@pytest.mark.parametrize("timeout", [None, HANGS])
@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_cancellation_from_outside_passes(how, timeout):
    started, ended = anyio.Event(), []

    async def tool():
        started.set()
        await anyio.sleep_forever()

    async def call():
        ended.append(await Tool.of(tool, timeout=timeout).run({}))

    with anyio.fail_after(HANGS):
        if how == "native":
            task = asyncio.create_task(call())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await started.wait()
                tasks.cancel_scope.cancel()
    assert ended == []


async def test_a_timeout_cancels_and_names_the_limit():
    cancelled = []

    async def tool():
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    outcome = await run(tool, timeout=0.01)
    assert not outcome.ok
    assert outcome.text == "tool took longer than its limit of 0.01 s and was stopped"
    assert isinstance(outcome.error, TimeoutError)
    assert cancelled == [True]


variable = contextvars.ContextVar("variable", default="none")


async def test_other_functions_run_in_a_thread_with_the_context():
    def tool(x: int):
        """Not async."""
        return [x, variable.get(), threading.current_thread() is threading.main_thread()]

    variable.set("here")
    assert (await run(tool, {"x": "1"})).value == [1, "here", False]


async def test_an_awaitable_that_a_function_returns_is_awaited():
    def tool():
        return finish("s", 1)

    assert (await run(tool)).text == "s 1"


async def test_a_blocking_function_keeps_nothing_waiting():
    """Nor do so many that anyio's own threads would all be taken."""
    release = threading.Event()

    def tool():
        release.wait(HANGS)

    def quick():
        return "quick"

    try:
        with anyio.fail_after(HANGS):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(Tool.of(tool).run, {})
                assert (await run(quick)).text == "quick"
                assert await anyio.to_thread.run_sync(quick) == "quick"
                release.set()
    finally:
        release.set()


async def test_a_blocking_function_that_takes_too_long_is_given_up():
    release = threading.Event()

    def tool():
        release.wait(HANGS)

    try:
        assert "0.01 s" in (await run(tool, timeout=0.01)).text
    finally:
        release.set()


# --- cost


def test_functions_of_the_same_code_share_what_is_compiled(monkeypatch):
    compiled = []
    real = schema.compile_object
    monkeypatch.setattr(
        schema, "compile_object", lambda *args: compiled.append(args) or real(*args)
    )

    def process(default):
        async def tool(
            x: int, n: Annotated[int, "how many"] = default, late: "str | None" = None
        ): ...

        return Tool.of(tool)

    tools = [process(n) for n in range(1, 100)]
    assert len(compiled) == 1
    assert [t.parameters["properties"]["n"]["default"] for t in tools] == list(range(1, 100))


def test_what_is_compiled_is_kept_for_a_few_shapes_only():
    def process(n):
        async def tool(x): ...

        tool.__annotations__["x"] = Literal[n]
        return Tool.of(tool), tool.__code__

    made = [process(n) for n in range(100)]
    assert len(signature._shapes[made[0][1]]) < 10
    assert all(tool.validate({"x": n}) for n, (tool, _) in enumerate(made))


def test_pydantic_is_imported_at_the_first_tool():
    code = """
import sys, ramure.tools
assert "pydantic" not in sys.modules
async def f(): ...
ramure.tools.Tool.of(f)
assert "pydantic" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS * 3)
