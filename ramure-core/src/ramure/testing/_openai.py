"""OpenAI's chat completions: ``POST /v1/chat/completions``.

As in https://platform.openai.com/docs/api-reference/chat: deltas, a chunk with the reason for the
end, one with the usage, ``[DONE]``. Reasoning is ``reasoning_content``, as open servers call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ramure.run.protocol import ToolDef
from ramure.testing._dialect import Dialect, Spoken, arguments, frame, loaded, text_of
from ramure.testing.request import Message, Request, ToolResult, normalised
from ramure.testing.script import BrokenJson, Fail, Text, Think, ToolCall, pieces

_FINISH = {
    "calls": "tool_calls",
    "stop": "stop",
    "length": "length",
    "refusal": "content_filter",
}


class ChatCompletions(Dialect):
    """Chat completions."""

    api = "openai-completions"

    @staticmethod
    def read(body: Mapping[str, Any]) -> Request:
        system: list[str] = []
        messages: list[Message] = []
        for message in body["messages"]:
            if message["role"] in {"system", "developer"}:
                system.append(text_of(message.get("content")))
            else:
                messages.append(_message(message))
        return Request(
            api=ChatCompletions.api,
            model=body["model"],
            system="\n\n".join(system),
            messages=normalised(messages),
            tools=tuple(
                ToolDef(f["name"], f.get("description", ""), f.get("parameters", {}))
                for f in (tool["function"] for tool in body.get("tools") or ())
            ),
            stream=bool(body.get("stream")),
            body=body,
        )

    def begin(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})

    def part(self, index: int, part: Spoken) -> Iterator[bytes]:
        if isinstance(part, Text | Think):
            name = "content" if isinstance(part, Text) else "reasoning_content"
            for piece in pieces(part.text, part.chunk):
                yield self._chunk({name: piece})
            return
        nth = sum(isinstance(p, ToolCall | BrokenJson) for p in self.spoken[:index])
        yield self._call(nth, {"name": part.name, "arguments": ""}, id=part.id, type="function")
        for piece in pieces(arguments(part), 64):
            yield self._call(nth, {"arguments": piece})

    def end(self) -> Iterator[bytes]:
        yield self._chunk({}, _FINISH[self.finish])
        yield frame(
            self._envelope("chat.completion.chunk") | {"choices": [], "usage": self._used()}
        )
        yield b"data: [DONE]\n\n"

    def whole(self) -> Mapping[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(part.text for part in self.spoken if isinstance(part, Text)) or None,
        }
        if thought := "".join(part.text for part in self.spoken if isinstance(part, Think)):
            message["reasoning_content"] = thought
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments(call)},
                }
                for call in self.calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[self.finish]}
        return self._envelope("chat.completion") | {"choices": [choice], "usage": self._used()}

    @staticmethod
    def failure(fail: Fail) -> Mapping[str, Any]:
        return {"error": {"message": fail.text, "type": "scripted", "code": fail.status}}

    def failure_frame(self, fail: Fail) -> bytes:
        return frame(self.failure(fail))

    def _call(self, index: int, function: Mapping[str, str], **more: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": index, **more, "function": function}]})

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return frame(self._envelope("chat.completion.chunk") | {"choices": [choice]})

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": 0, "model": self.request.model}

    def _used(self) -> Mapping[str, Any]:
        usage = self.usage
        asked = usage.input + usage.cache_read + usage.cache_write
        return {
            "prompt_tokens": asked,
            "completion_tokens": usage.output,
            "total_tokens": asked + usage.output,
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
            },
        }


def _message(message: Mapping[str, Any]) -> Message:
    text = text_of(message.get("content"))
    if message["role"] == "tool":
        return Message("tool", results=(ToolResult(message["tool_call_id"], text),))
    calls = tuple(
        ToolCall(call["function"]["name"], **loaded(call["function"]["arguments"])).with_id(
            call["id"]
        )
        for call in message.get("tool_calls") or ()
    )
    return Message("assistant" if message["role"] == "assistant" else "user", text, calls)
