"""What clients of the real APIs get from the scripted model."""

import json

import anyio
from anyio import to_thread

from model_client import HANGS, PATHS, asking, asking_for, begin, every_api, fetch, post
from ramure.testing import (
    BrokenJson,
    Finish,
    Raw,
    ScriptedModel,
    Text,
    Think,
    ToolCall,
    Usage,
)


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
