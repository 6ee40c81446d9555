"""Calls of tools: results, failures, time-outs, threads; and what a tool costs."""

import asyncio
import contextvars
import enum
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import anyio
import msgspec
import pydantic
import pytest

from ramure.tools import Tool, WrongArguments, schema, signature
from tool_values import Item, Point, finish

HANGS = 20
"""Seconds after which something hangs."""


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
