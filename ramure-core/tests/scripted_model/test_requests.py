"""What the scripted model understands of a request, and what it refuses."""

import asyncio
import http.client
import json

import anyio
import pytest

from model_client import HANGS, PATHS, asking, every_api, post, talk
from ramure.testing import (
    Hang,
    ScriptedModel,
    Text,
    ToolCall,
    ToolResult,
)

CALLED = ToolCall("add", a=1).with_id("c1"), ToolCall("read", path="x").with_id("c2")
TOOL = {"name": "add", "description": "Adds.", "schema": {"type": "object"}}
CONVERSATIONS = {
    "openai-completions": {
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}},
                    {"id": "c2", "function": {"name": "read", "arguments": '{"path": "x"}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "y"}]},
        ],
        "tools": [
            {"function": {"name": "add", "description": "Adds.", "parameters": TOOL["schema"]}}
        ],
    },
    "openai-responses": {
        "instructions": "be kind",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": []},
            {
                "type": "function_call",
                "call_id": "c1",
                "name": "add",
                "arguments": '{"a": 1}',
            },
            {
                "type": "function_call",
                "call_id": "c2",
                "name": "read",
                "arguments": '{"path": "x"}',
            },
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "function_call_output", "call_id": "c2", "output": "y"},
        ],
        "tools": [
            {
                "type": "function",
                "name": "add",
                "description": "Adds.",
                "parameters": TOOL["schema"],
            }
        ],
    },
    "anthropic-messages": {
        "system": [{"type": "text", "text": "be kind"}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "read", "input": {"path": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": [{"type": "text", "text": "y"}],
                    },
                ],
            },
        ],
        "tools": [{"name": "add", "description": "Adds.", "input_schema": TOOL["schema"]}],
    },
}


@every_api
async def test_a_request_reads_the_same_in_every_api(api):
    async with ScriptedModel(["ok"]) as model:
        answer = await post(model, PATHS[api], model="m", **CONVERSATIONS[api])
    assert answer.status == 200
    (request,) = model.requests
    assert (request.api, request.model, request.system, request.text) == (api, "m", "be kind", "hi")
    assert [message.role for message in request.messages] == ["user", "assistant", "tool"]
    assert request.messages[1].calls == CALLED
    assert request.results == (ToolResult("c1", "2", "add"), ToolResult("c2", "y", "read"))
    assert request.tool_names == ("add",)
    assert request.tools[0].parameters == TOOL["schema"]
    assert not request.stream


async def test_results_are_those_since_the_model_last_spoke():
    conversation = CONVERSATIONS["openai-completions"]
    later = [{"role": "assistant", "content": "thanks"}, {"role": "user", "content": "next"}]
    async with ScriptedModel(["ok"]) as model:
        messages = [*conversation["messages"], *later]
        await post(model, model="m", **{**conversation, "messages": messages})
    (request,) = model.requests
    assert (request.results, request.text) == ((), "next")


@pytest.mark.parametrize("header", ["x-session-affinity", "session_id"])
async def test_a_session_that_is_named_is_a_conversation(header):
    async with ScriptedModel(["one", "two"]) as model:
        said = [
            (await post(model, headers={header: session}, **asking("the same"))).text
            for session in ("first", "second", "first")
        ]
    assert said == ["one", "one", "two"]


async def test_it_may_be_entered_in_one_task_and_left_in_another():
    model = ScriptedModel(["ok", [Text("I stay"), Hang()]])
    await asyncio.create_task(model.__aenter__())  # which has ended when it is used
    assert (await post(model, **asking("x"))).text == "ok"
    waiting = asyncio.create_task(post(model, **asking("y")))
    await model.wait_for(2, timeout=HANGS)
    url = model.url
    await asyncio.create_task(model.__aexit__(None, None, None))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await waiting
    with pytest.raises(OSError):
        await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2]))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "scripted model"]


async def test_a_task_that_left_it_was_not_cancelled():
    async def enter_and_leave():
        async with ScriptedModel(["ok"]) as model:
            await post(model, **asking("x"))
        return asyncio.current_task().cancelling()

    assert await asyncio.create_task(enter_and_leave()) == 0


async def test_the_key_is_asked_for_and_never_shown():
    async with ScriptedModel(["ok"]) as model:
        refused = await post(model, key="another", **asking("x"))
        taken = await post(model, **asking("x"))
    assert (refused.status, taken.status) == (401, 200)
    (request,) = model.requests
    assert request.key == model.key
    assert model.key not in repr(request)


async def test_waiting_for_requests_ends():
    async with ScriptedModel(["ok"]) as model:
        with pytest.raises(TimeoutError, match="0 of 1 requests"):
            await model.wait_for(1, timeout=0.05)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: post(model, **asking("x")))
            assert (await model.wait_for(1, timeout=HANGS))[0].text == "x"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/messages HTTP/1.1\r\ncontent-length: many\r\n\r\n", b"400"),
        (b"POST /v1/messages HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", b"400"),
        (b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]", b"400"),
        (b"POST /v1/messages HTTP/1.1\r\ncontent-length: 9\r\n\r\n{not json", b"400"),
        (b"GET /v1/elsewhere HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /v1/messages HTTP/1.1\r\n\r\n", b"404"),
    ],
)
async def test_what_is_no_request_is_refused(sent, status):
    async with ScriptedModel(["ok"]) as model:
        assert (await talk(model, sent)).startswith(b"HTTP/1.1 " + status)
        assert (await post(model, **asking("x"))).text == "ok"


async def test_a_body_may_come_in_chunks():
    body = json.dumps(asking("in pieces", stream=False)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
    async with ScriptedModel(["ok"]) as model:
        head += f"expect: 100-continue\r\nauthorization: Bearer {model.key}\r\n\r\n"
        chunks = b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nsome: trailer\r\n\r\n"
        sent = head.encode() + chunks % (body[:5], len(body) - 5, body[5:])
        answer = await talk(model, sent)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert model.requests[0].text == "in pieces"
