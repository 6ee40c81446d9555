"""Arguments of a call: what is taken, what is refused, and in which words."""

from datetime import date
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramure.tools import Tool, WrongArguments
from tool_values import Colour, Item, Point, finish


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
