"""Failures that a script asks for."""

import http.client
import json

import anyio
import pytest

from model_client import HANGS, PATHS, asking, asking_for, begin, every_api, post
from ramure.testing import (
    Drop,
    Fail,
    Hang,
    ScriptedModel,
    Text,
)


@every_api
async def test_a_failure_is_an_answer(api):
    async with ScriptedModel([Fail(429, "slow down", retry_after=1.5), Fail(500)]) as model:
        limited = await post(model, PATHS[api], **asking_for(api, "x"))
        broken = await post(model, PATHS[api], **asking_for(api, "x"))
    assert (limited.status, limited.headers["retry-after"]) == (429, "1.5")
    assert limited.json["error"]["message"] == "slow down"
    assert (broken.status, broken.json["error"]["message"]) == (500, "internal server error")


@every_api
async def test_a_failure_in_the_middle_is_an_event(api):
    async with ScriptedModel([[Text("so far"), Fail(529)]]) as model:
        answer = await post(model, PATHS[api], **asking_for(api, "x"))
    assert answer.status == 200
    assert "so far" in answer.body.decode()
    assert "overloaded" in json.dumps(answer.events[-1])


@pytest.mark.parametrize("turn", [Drop(), Hang(0.01)])
async def test_a_connection_that_breaks_before_the_answer(turn):
    async with ScriptedModel([turn]) as model:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            await post(model, **asking("x"))


async def test_a_connection_that_breaks_in_the_middle():
    async with ScriptedModel([[Text("so far"), Drop(), Text("never")]]) as model:
        with pytest.raises(http.client.IncompleteRead) as caught:
            await post(model, **asking("x"))
    assert b"so far" in caught.value.partial
    assert b"never" not in caught.value.partial


async def test_the_end_of_the_block_ends_answers_under_way():
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:  # noqa: SIM117 the model is inside of it
            async with ScriptedModel([[Text("so far"), Hang()]]) as model:
                tasks.start_soon(expect_break, model)
                await model.wait_for(1)


async def expect_break(model):
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        await post(model, **asking("x"))


async def test_a_client_that_leaves_is_not_waited_for():
    ended = anyio.Event()

    async def wait(request):
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with ScriptedModel(wait) as model:
        async with await begin(model, asking("x")):
            await model.wait_for(1)
        with anyio.fail_after(HANGS):
            await ended.wait()
