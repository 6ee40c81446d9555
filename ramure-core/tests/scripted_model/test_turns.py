"""Which turn of a script is played, and where scripts fail."""

import asyncio
import http.client
import json

import anyio
import pytest

from model_client import HANGS, asking, post
from ramure.testing import (
    Delay,
    Hang,
    ScriptedModel,
    Text,
    ToolCall,
)


async def test_a_list_is_played_once_in_every_conversation():
    async with ScriptedModel(["one", "two"]) as model:
        first = [(await post(model, **asking("first"))).text for _ in range(3)]
        second = (await post(model, **asking("second"))).text
        same = asking("first") | {"model": "other"}
        third = (await post(model, **same)).text
    assert first[:2] == ["one", "two"]
    assert "no more turns" in first[2]
    assert second == third == "one"
    assert [request.turn for request in model.requests] == [0, 1, 2, 0, 0]
    assert [request.number for request in model.requests] == [1, 2, 3, 4, 5]


async def test_an_empty_list_says_so_at_once():
    async with ScriptedModel([], cycle=True) as model:
        assert "no more turns" in (await post(model, **asking("x"))).text


async def test_a_list_can_begin_again():
    async with ScriptedModel(["one", "two"], cycle=True) as model:
        said = [(await post(model, **asking("x"))).text for _ in range(5)]
    assert said == ["one", "two", "one", "two", "one"]


async def test_a_script_is_chosen_by_tag_then_by_model():
    scripts = {"writer": ["I write"], "reviewer": ["I review"], "*": ["I wonder"]}
    async with ScriptedModel(scripts) as model:
        by_model = await post(model, **asking("x", model="writer"))
        by_tag = await post(model, **asking("x", model="writer", system="[script: reviewer]"))
        by_message = await post(model, **asking("[script: reviewer] go", model="writer"))
        others = await post(model, **asking("x", model="unheard-of"))
    assert (by_model.text, by_tag.text, by_message.text) == ("I write", "I review", "I review")
    assert others.text == "I wonder"


async def test_whoever_has_no_script_is_an_error_that_names_those_that_are():
    async def run():
        async with ScriptedModel({"writer": ["x"], "reviewer": ["y"]}) as model:
            answer = await post(model, **asking("x", model="ghost"))
            assert answer.status == 400

    with pytest.raises(LookupError, match=r"'ghost'.*writer, reviewer"):
        await run()


async def test_functions_see_the_request_and_may_wait():
    async def second(request):
        await anyio.lowlevel.checkpoint()
        return ToolCall("finish", summary=request.text.upper())

    async with ScriptedModel([lambda r: f"{r.model} {r.turn} {r.system}", second]) as model:
        first = await post(model, **asking("hello", system="be kind"))
        after = await post(model, **asking("hello", system="be kind", stream=False))
    assert first.text == "scripted 0 be kind"
    call = after.json["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(call["arguments"]) == {"summary": "HELLO"}


async def test_fifty_agents_at_once():
    async with ScriptedModel([[Text("a" * 50, chunk=5), Delay(0.01)], "done"]) as model:
        said = {}

        async def talk(number):
            first = (await post(model, **asking(f"agent {number}"))).text
            said[number] = (first, (await post(model, **asking(f"agent {number}"))).text)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(talk, number)
        assert said == dict.fromkeys(range(50), ("a" * 50, "done"))
        assert len(await model.wait_for(100)) == 100


def boom(request):
    raise ZeroDivisionError("in the script")


async def test_what_a_script_raises_is_raised_at_the_end():
    async def run():
        async with ScriptedModel(boom) as model:
            answer = await post(model, **asking("x"))
            assert (answer.status, "in the script" in answer.body.decode()) == (400, True)
            with pytest.raises(ZeroDivisionError):
                with anyio.fail_after(HANGS):
                    await model.wait_for(2, timeout=3600)

    with pytest.raises(ZeroDivisionError, match="in the script"):
        await run()


@pytest.mark.parametrize("turn", [5, [Text("a"), 5], ToolCall("x", when={1, 2})])
async def test_a_turn_that_is_none_is_the_scripts_failure(turn):
    async def run():
        async with ScriptedModel([turn]) as model:
            assert (await post(model, **asking("x"))).status == 400

    with pytest.raises(TypeError):
        await run()


async def test_the_blocks_own_error_wins_and_mentions_the_scripts():
    async def run():
        async with ScriptedModel(boom) as model:
            await post(model, **asking("x"))
            raise AssertionError("mine")

    with pytest.raises(AssertionError, match="mine") as caught:
        await run()
    assert "ZeroDivisionError" in caught.value.__notes__[0]


async def test_cancelling_the_block_ends_it():
    async def run():
        async with ScriptedModel([Hang()]) as model:
            with pytest.raises(http.client.HTTPException):
                await post(model, **asking("x"))

    task = asyncio.create_task(run())
    await anyio.sleep(0.05)
    task.cancel()
    with anyio.fail_after(HANGS), pytest.raises(asyncio.CancelledError):
        await task


async def test_there_is_no_address_outside_of_the_block():
    model = ScriptedModel(["x"])
    with pytest.raises(RuntimeError, match="async with"):
        _ = model.base_url
    async with model:
        assert model.base_url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="async with"):
        _ = model.url
