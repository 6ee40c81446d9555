"""Anthropic's messages: ``POST /v1/messages``.

As in https://docs.anthropic.com/en/api/messages-streaming: ``message_start``, the content's blocks
with their deltas, ``message_delta`` with the reason for the end and the usage, ``message_stop``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ramure.run.protocol import ToolDef
from ramure.testing._dialect import Dialect, Spoken, arguments, frame, loaded, text_of
from ramure.testing.request import Message, Request, ToolResult, normalised
from ramure.testing.script import Fail, Text, Think, ToolCall, pieces

_FINISH = {
    "calls": "tool_use",
    "stop": "end_turn",
    "length": "max_tokens",
    "refusal": "refusal",
}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages(Dialect):
    """Messages."""

    api = "anthropic-messages"

    @staticmethod
    def read(body: Mapping[str, Any]) -> Request:
        messages = [part for message in body["messages"] for part in _split(message)]
        return Request(
            api=Messages.api,
            model=body["model"],
            system=text_of(body.get("system")),
            messages=normalised(messages),
            tools=tuple(
                ToolDef(tool["name"], tool.get("description", ""), tool.get("input_schema", {}))
                for tool in body.get("tools") or ()
            ),
            stream=bool(body.get("stream")),
            body=body,
        )

    def begin(self) -> Iterator[bytes]:
        message = self._message([], stop_reason=None) | {"usage": self._used(output=1)}
        yield _event("message_start", message=message)

    def part(self, index: int, part: Spoken) -> Iterator[bytes]:
        yield _event("content_block_start", index=index, content_block=_block(part, empty=True))
        for delta in _deltas(part):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)

    def end(self) -> Iterator[bytes]:
        delta = {"stop_reason": _FINISH[self.finish], "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=self._used(output=self.usage.output))
        yield _event("message_stop")

    def whole(self) -> Mapping[str, Any]:
        content = [_block(part) for part in self.spoken]
        message = self._message(content, stop_reason=_FINISH[self.finish])
        return message | {"usage": self._used(output=self.usage.output)}

    @staticmethod
    def failure(fail: Fail) -> Mapping[str, Any]:
        kind = _ERRORS.get(fail.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": fail.text}}

    def failure_frame(self, fail: Fail) -> bytes:
        return frame(self.failure(fail), "error")

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.request.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }

    def _used(self, output: int) -> Mapping[str, int]:
        return {
            "input_tokens": self.usage.input,
            "output_tokens": output,
            "cache_read_input_tokens": self.usage.cache_read,
            "cache_creation_input_tokens": self.usage.cache_write,
        }


def _event(kind: str, **data: Any) -> bytes:
    return frame({"type": kind, **data}, kind)


def _block(part: Spoken, *, empty: bool = False) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": "" if empty else part.text}
    if isinstance(part, Think):
        said = "" if empty else part.text
        return {"type": "thinking", "thinking": said, "signature": "" if empty else "scripted"}
    given = {} if empty else loaded(arguments(part))
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": given}


def _deltas(part: Spoken) -> Iterator[dict[str, str]]:
    if isinstance(part, Text):
        for piece in pieces(part.text, part.chunk):
            yield {"type": "text_delta", "text": piece}
    elif isinstance(part, Think):
        for piece in pieces(part.text, part.chunk):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": "scripted"}
    else:
        for piece in pieces(arguments(part), 64):
            yield {"type": "input_json_delta", "partial_json": piece}


def _split(message: Mapping[str, Any]) -> Iterator[Message]:
    """One message for the results in it, one for the rest."""
    content = message["content"]
    blocks: list[dict[str, Any]] = (
        [{"type": "text", "text": content}] if isinstance(content, str) else content
    )
    results = tuple(
        ToolResult(b["tool_use_id"], text_of(b.get("content")), error=bool(b.get("is_error")))
        for b in blocks
        if b["type"] == "tool_result"
    )
    if results:
        yield Message("tool", results=results)
    calls = tuple(
        ToolCall(b["name"], **b["input"]).with_id(b["id"])
        for b in blocks
        if b["type"] == "tool_use"
    )
    text = text_of([b for b in blocks if b["type"] == "text"])
    if text or calls or not results:
        yield Message("assistant" if message["role"] == "assistant" else "user", text, calls)
