"""The scripted model: what clients of the real APIs, and the real pi, get from it."""

import asyncio
import http.client
import json
import os
import stat
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

import parts
from ramure.testing import (
    BrokenJson,
    Delay,
    Drop,
    Fail,
    Finish,
    Hang,
    Raw,
    ScriptedModel,
    Text,
    Think,
    ToolCall,
    ToolResult,
    Usage,
)

HANGS = 60
"""Seconds after which a test that waits has failed."""

PATHS = {
    "openai-completions": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
every_api = pytest.mark.parametrize("api", list(PATHS))


class Answer:
    """What a client got."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        lines = [line for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    @property
    def text(self):
        """The text of a streamed answer of chat completions."""
        deltas = [c["delta"] for event in self.events for c in event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


def fetch(model, method, path, body, headers):
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(model.url.rpartition(":")[2]), timeout=HANGS
    )
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


async def post(model, path=PATHS["openai-completions"], /, *, key=None, headers=None, **body):
    headers = {"Authorization": f"Bearer {key or model.key}", **(headers or {})}
    with anyio.fail_after(HANGS):
        return await to_thread.run_sync(
            fetch, model, "POST", path, json.dumps(body), headers, abandon_on_cancel=True
        )


def asking(text, *, model="scripted", system="", stream=True):
    """A request of chat completions."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return {"model": model, "messages": messages, "stream": stream}


def asking_for(api, text, *, stream=True):
    if api == "openai-responses":
        return {"model": "scripted", "input": text, "stream": stream}
    return {
        "model": "scripted",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
    }


# --- answers


@every_api
async def test_an_answer_is_the_same_whole_and_streamed(api):
    turn = [
        Think("hm"),
        Text("Hello, world", chunk=5),
        Text("."),
        Text("."),
        ToolCall("add", a=1, b=["x"]),
    ]
    turn += [ToolCall("add", a=1, b=["x"]), Usage(100, 20, 5, 3)]
    async with ScriptedModel(lambda request: turn) as model:
        whole = await post(model, PATHS[api], **asking_for(api, "hi", stream=False))
        streamed = await post(model, PATHS[api], **asking_for(api, "hi"))
    assert whole.status == streamed.status == 200
    assert streamed.headers["content-type"] == "text/event-stream"
    read = {
        "openai-completions": read_completion,
        "openai-responses": read_response,
        "anthropic-messages": read_message,
    }
    expected = {
        "think": "hm",
        "text": "Hello, world..",
        "calls": [("add", {"a": 1, "b": ["x"]})] * 2,
        "usage": (100, 20, 5, 3),
        "finish": {
            "openai-completions": "tool_calls",
            "openai-responses": "completed",
            "anthropic-messages": "tool_use",
        }[api],
    }
    assert read[api](whole, stream=False) == expected
    assert read[api](streamed, stream=True) == expected


def read_completion(answer, *, stream):
    if not stream:
        choice = answer.json["choices"][0]
        message, finish, usage = choice["message"], choice["finish_reason"], answer.json["usage"]
        calls = [call["function"] for call in message["tool_calls"]]
    else:
        assert answer.body.endswith(b"data: [DONE]\n\n")
        deltas = [event["choices"][0]["delta"] for event in answer.events[:-1]]
        finish = answer.events[-2]["choices"][0]["finish_reason"]
        usage = answer.events[-1]["usage"]
        message = {
            name: "".join(delta.get(name) or "" for delta in deltas)
            for name in ("content", "reasoning_content")
        }
        calls = []
        for delta in deltas:
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    assert call["index"] == len(calls)
                    calls.append(dict(call["function"]))
                else:
                    calls[call["index"]]["arguments"] += call["function"]["arguments"]
    cached = usage["prompt_tokens_details"]
    read, written = cached["cached_tokens"], cached["cache_write_tokens"]
    return {
        "think": message["reasoning_content"],
        "text": message["content"],
        "calls": [(call["name"], json.loads(call["arguments"])) for call in calls],
        "usage": (
            usage["prompt_tokens"] - read - written,
            usage["completion_tokens"],
            read,
            written,
        ),
        "finish": finish,
    }


def read_response(answer, *, stream):
    if stream:
        events = answer.events
        assert events[0]["type"] == "response.created"
        response = events[-1]["response"]
        for index, item in enumerate(response["output"]):
            mine = [event for event in events if event.get("output_index") == index]
            said = "".join(event.get("delta", "") for event in mine)
            held = item.get("summary") or item.get("content")
            assert said == (held[0]["text"] if held else item["arguments"])
            assert mine[-1]["item"] == item
    else:
        response = answer.json
    items = response["output"]
    usage = response["usage"]
    cached = usage["input_tokens_details"]
    read, written = cached["cached_tokens"], cached["cache_write_tokens"]
    return {
        "think": "".join(i["summary"][0]["text"] for i in items if i["type"] == "reasoning"),
        "text": "".join(i["content"][0]["text"] for i in items if i["type"] == "message"),
        "calls": [
            (i["name"], json.loads(i["arguments"])) for i in items if i["type"] == "function_call"
        ],
        "usage": (usage["input_tokens"] - read - written, usage["output_tokens"], read, written),
        "finish": response["status"],
    }


def read_message(answer, *, stream):
    if not stream:
        blocks, usage = answer.json["content"], answer.json["usage"]
        finish = answer.json["stop_reason"]
    else:
        events = answer.events
        assert events[0]["type"] == "message_start"
        assert events[-1]["type"] == "message_stop"
        blocks = []
        for event in events:
            if event["type"] == "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(dict(event["content_block"], json=""))
            elif event["type"] == "content_block_delta":
                delta, block = event["delta"], blocks[event["index"]]
                block["text"] = block.get("text", "") + delta.get("text", "")
                block["thinking"] = block.get("thinking", "") + delta.get("thinking", "")
                block["json"] += delta.get("partial_json", "")
            elif event["type"] == "content_block_stop" and blocks[event["index"]]["json"]:
                blocks[event["index"]]["input"] = json.loads(blocks[event["index"]]["json"])
        usage, finish = events[-2]["usage"], events[-2]["delta"]["stop_reason"]
    return {
        "think": "".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
        "text": "".join(b["text"] for b in blocks if b["type"] == "text"),
        "calls": [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
        "usage": (
            usage["input_tokens"],
            usage["output_tokens"],
            usage["cache_read_input_tokens"],
            usage["cache_creation_input_tokens"],
        ),
        "finish": finish,
    }


async def test_models_are_listed():
    async with ScriptedModel({"writer": ["x"], "reviewer": ["y"]}) as model:
        answer = await to_thread.run_sync(fetch, model, "GET", "/v1/models?limit=1", None, {})
    assert [entry["id"] for entry in answer.json["data"]] == ["writer", "reviewer"]


@every_api
async def test_the_reason_of_the_end_can_be_chosen(api):
    async with ScriptedModel([[Text("I could go on"), Finish("length")]]) as model:
        answer = await post(model, PATHS[api], **asking_for(api, "go"))
    last = answer.events[-2 if api != "openai-responses" else -1]
    assert {
        "openai-completions": lambda: last["choices"][0]["finish_reason"] == "length",
        "openai-responses": lambda: (
            last["type"] == "response.incomplete"
            and last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
        ),
        "anthropic-messages": lambda: last["delta"]["stop_reason"] == "max_tokens",
    }[api]()


async def test_words_come_one_after_the_other():
    async with ScriptedModel([Text("abc", chunk=1, pause=3600)]) as model:
        stream = await begin(model, asking("go"))
        with anyio.fail_after(HANGS):
            came = b""
            while b'"a"' not in came:
                came += await stream.receive()
        with anyio.move_on_after(0.2):
            came += await stream.receive()
        await stream.aclose()
    assert b'"b"' not in came


async def test_arguments_can_be_cut_off():
    async with ScriptedModel([BrokenJson("add", '{"a": 1, "b')]) as model:
        answer = await post(model, **asking("add", stream=False))
    call = answer.json["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call == {"name": "add", "arguments": '{"a": 1, "b'}


async def test_raw_bytes_are_sent_as_they_are():
    async with ScriptedModel([Raw(b"data: no json\n\n"), [Text("a"), Raw(b": hi\n\n")]]) as model:
        alone = await post(model, **asking("x"))
        within = await post(model, **asking("x"))
    assert alone.body == b"data: no json\n\n"
    assert b": hi\n\n" in within.body
    assert within.body.endswith(b"[DONE]\n\n")


# --- which turn


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


# --- requests


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


async def begin(model, body):
    """A connection on which a request has been sent."""
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {model.key}\r\n"
    stream = await anyio.connect_tcp("127.0.0.1", int(model.url.rpartition(":")[2]))
    await stream.send(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
    return stream


async def talk(model, sent):
    """All that comes back for these bytes."""
    port = int(model.url.rpartition(":")[2])
    with anyio.fail_after(HANGS):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(sent)
            return b"".join([piece async for piece in stream])


# --- failures


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


# --- scripts that fail


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


# --- a folder for pi


async def test_a_folder_for_pi_is_the_owners_alone(tmp_path):
    async with ScriptedModel({"writer": ["x"], "reviewer": ["y"]}) as model:
        apis = ["anthropic-messages", "openai-responses"]
        folder = model.pi_folder(tmp_path / "a" / "pi", apis=apis, settings={"theme": "light"})
        model.pi_folder(folder, apis=apis, settings={"theme": "light"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"models.json": 0o600, "settings.json": 0o600}
    providers = json.loads((folder / "models.json").read_text())["providers"]
    assert {n: p["baseUrl"][-3:] == "/v1" for n, p in providers.items()} == {
        "scripted": False,
        "scripted-openai-responses": True,
    }
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["defaultModel"], settings["theme"]) == ("writer", "light")


async def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.delenv("PI_CODING_AGENT_DIR", raising=False)
    async with ScriptedModel(["x"]) as model:
        with model.use():
            folder = os.environ["PI_CODING_AGENT_DIR"]
            assert os.environ["OPENAI_API_KEY"] == model.key
            assert await anyio.Path(folder, "models.json").exists()
        assert os.environ["OPENAI_API_KEY"] == "mine"
        assert "PI_CODING_AGENT_DIR" not in os.environ
    assert not await anyio.Path(folder).exists()


# --- the real pi

real_pi = pytest.mark.pi


@pytest.fixture(params=parts.PIS)
def pi(request, tmp_path):
    """Runs the real pi against a model: gives its messages' ends and its exit code."""
    package = parts.pi_package(request.param)
    own_node = Path(package).parents[1] / ".bin" / "node"
    cli = Path(package, "dist", "cli.js")
    command = [str(own_node) if own_node.exists() else "node", str(cli), "--mode", "json", "-p"]

    async def run(model, text, *more, api="openai-completions"):
        folder = model.pi_folder(tmp_path / "pi", apis=[api])
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [*command, *more, text],
                cwd=tmp_path,
                env=os.environ | model.env(folder) | {"HOME": str(tmp_path)},
                check=False,
            )
        events = [json.loads(line) for line in done.stdout.decode().splitlines()]
        return [event["message"] for event in events if event["type"] == "message_end"]

    return run


def said(message):
    return "".join(block.get("text", "") for block in message["content"])


@real_pi
@every_api
async def test_pi_plays_a_script_to_its_end(pi, api, tmp_path):
    (tmp_path / "notes.txt").write_text("a haiku\n")
    script = [
        [
            Think("two things at once"),
            Text("Let me see.", chunk=4),
            ToolCall("bash", command="echo from $((40 + 2))"),
            ToolCall("read", path="notes.txt"),
        ],
        lambda request: [
            Text(" and ".join(f"{r.name}: {r.text.strip()}" for r in request.results)),
            Usage(10_000, 5_000, 1_000),
        ],
    ]
    async with ScriptedModel(script) as model:
        messages = await pi(model, "what is there?", api=api)
    assert [request.api for request in model.requests] == [api, api]
    assert [request.turn for request in model.requests] == [0, 1]
    assert {"bash", "read"} <= set(model.requests[0].tool_names)
    assert model.requests[0].text == "what is there?"
    assert model.requests[0].system
    spoken = [message for message in messages if message["role"] == "assistant"]
    assert said(spoken[0]) == "Let me see."
    assert said(spoken[1]) == "bash: from 42 and read: a haiku"
    usage = spoken[1]["usage"]
    assert (usage["input"], usage["output"], usage["cacheRead"]) == (10_000, 5_000, 1_000)
    assert usage["cost"]["total"] == pytest.approx(0.01 + 0.01 + 0.0001)


@real_pi
@every_api
async def test_pi_tries_again_after_a_passing_failure(pi, api):
    script = [Fail(500), Drop(), [Text("half"), Drop()], "now it works"]
    async with ScriptedModel(script) as model:
        *_, last = await pi(model, "hi", api=api)
    assert said(last) == "now it works"
    assert [request.turn for request in model.requests] == [0, 1, 2, 3]


@real_pi
async def test_pi_tries_again_when_the_model_is_busy(pi):
    async with ScriptedModel([Fail(429), [Text("half"), Fail(529)], "now it works"]) as model:
        *_, last = await pi(model, "hi")
    assert said(last) == "now it works"
    assert len(model.requests) == 3


@real_pi
@every_api
async def test_pi_gives_up_after_a_lasting_failure(pi, api):
    async with ScriptedModel([Fail(401), "never"]) as model:
        *_, last = await pi(model, "hi", api=api)
    assert last["stopReason"] == "error"
    assert "the API key is invalid" in last["errorMessage"]
    assert len(model.requests) == 1


@real_pi
async def test_pi_gives_up_when_the_script_fails(pi):
    async def run():
        async with ScriptedModel(boom) as model:
            *_, last = await pi(model, "hi")
            assert "in the script" in last["errorMessage"]
            assert len(model.requests) == 1

    with pytest.raises(ZeroDivisionError):
        await run()


@real_pi
async def test_two_pis_with_the_same_words_have_a_conversation_each(pi):
    async with ScriptedModel([ToolCall("bash", command="true"), "second"]) as model:
        said_last = []

        async def run():
            *_, last = await pi(model, "the same words")
            said_last.append(said(last))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            tasks.start_soon(run)
    assert said_last == ["second", "second"]


@real_pi
async def test_pi_chooses_among_models_and_providers(pi, tmp_path):
    async with ScriptedModel({"writer": ["I write"], "reviewer": ["I review"]}) as model:
        *_, first = await pi(model, "hi")
        *_, second = await pi(model, "hi", "--model", "scripted/reviewer")
    assert (said(first), said(second)) == ("I write", "I review")
