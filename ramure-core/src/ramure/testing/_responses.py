"""OpenAI's responses: ``POST /v1/responses``.

As in https://platform.openai.com/docs/api-reference/responses-streaming: one output item for each
part, announced, filled by deltas and repeated whole, then ``response.completed`` with everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ramure.run.protocol import ToolDef
from ramure.testing._dialect import Dialect, Spoken, arguments, frame, loaded, text_of
from ramure.testing.request import Message, Request, ToolResult, normalised
from ramure.testing.script import Fail, Text, Think, ToolCall, pieces

_INCOMPLETE = {"length": "max_output_tokens", "refusal": "content_filter"}


class Responses(Dialect):
    """Responses."""

    api = "openai-responses"

    @staticmethod
    def read(body: Mapping[str, Any]) -> Request:
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        system = [body.get("instructions") or ""]
        system += [text_of(item["content"]) for item in items if _is_system(item)]
        messages = [message for item in items if (message := _message(item))]
        return Request(
            api=Responses.api,
            model=body["model"],
            system="\n\n".join(filter(None, system)),
            messages=normalised(messages),
            tools=tuple(
                ToolDef(tool["name"], tool.get("description") or "", tool.get("parameters") or {})
                for tool in body.get("tools") or ()
                if tool["type"] == "function"
            ),
            stream=bool(body.get("stream")),
            body=body,
        )

    def begin(self) -> Iterator[bytes]:
        response = self._response("in_progress", [])
        yield _event("response.created", response=response)

    def part(self, index: int, part: Spoken) -> Iterator[bytes]:
        item = self._item(index, part, done=False)
        at = {"output_index": index, "item_id": item["id"]}
        yield _event("response.output_item.added", output_index=index, item=item)
        text = part.text if isinstance(part, Text | Think) else arguments(part)
        chunk = part.chunk if isinstance(part, Text | Think) else 64
        for piece in pieces(text, chunk):
            yield _event(_delta_of(part), **at, **_place(part), delta=piece)
        item = self._item(index, part, done=True)
        yield _event("response.output_item.done", output_index=index, item=item)

    def end(self) -> Iterator[bytes]:
        response = self.whole()
        yield _event(f"response.{response['status']}", response=response)

    def whole(self) -> Mapping[str, Any]:
        output = [self._item(index, part, done=True) for index, part in enumerate(self.spoken)]
        reason = _INCOMPLETE.get(self.finish)
        response = self._response("incomplete" if reason else "completed", output)
        return response | {
            "incomplete_details": {"reason": reason} if reason else None,
            "usage": self._used(),
        }

    @staticmethod
    def failure(fail: Fail) -> Mapping[str, Any]:
        return {"error": {"message": fail.text, "type": "scripted", "code": str(fail.status)}}

    def failure_frame(self, fail: Fail) -> bytes:
        error = {"code": str(fail.status), "message": fail.text}
        return _event("response.failed", response=self._response("failed", []) | {"error": error})

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": 0,
            "model": self.request.model,
            "status": status,
            "output": output,
        }

    def _item(self, index: int, part: Spoken, *, done: bool) -> dict[str, Any]:
        item: dict[str, Any] = {"status": "completed" if done else "in_progress"}
        number = self.request.number
        if isinstance(part, Text):
            content = {"type": "output_text", "text": part.text, "annotations": []}
            item |= {"type": "message", "id": f"msg_{number}_{index}", "role": "assistant"}
            return item | {"content": [content] if done else []}
        if isinstance(part, Think):
            summary = {"type": "summary_text", "text": part.text}
            item |= {"type": "reasoning", "id": f"rs_{number}_{index}"}
            return item | {"summary": [summary] if done else []}
        item |= {"type": "function_call", "id": f"fc_{number}_{index}", "call_id": part.id}
        return item | {"name": part.name, "arguments": arguments(part) if done else ""}

    def _used(self) -> Mapping[str, Any]:
        usage = self.usage
        asked = usage.input + usage.cache_read + usage.cache_write
        cached = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write}
        return {
            "input_tokens": asked,
            "input_tokens_details": cached,
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + usage.output,
        }


def _event(kind: str, **data: Any) -> bytes:
    return frame({"type": kind, **data}, kind)


def _delta_of(part: Spoken) -> str:
    if isinstance(part, Text):
        return "response.output_text.delta"
    if isinstance(part, Think):
        return "response.reasoning_summary_text.delta"
    return "response.function_call_arguments.delta"


def _place(part: Spoken) -> dict[str, int]:
    if isinstance(part, Text):
        return {"content_index": 0}
    return {"summary_index": 0} if isinstance(part, Think) else {}


def _is_system(item: Mapping[str, Any]) -> bool:
    return item.get("role") in {"system", "developer"}


def _message(item: Mapping[str, Any]) -> Message | None:
    kind = item.get("type", "message")
    if kind == "function_call":
        call = ToolCall(item["name"], **loaded(item["arguments"])).with_id(item["call_id"])
        return Message("assistant", calls=(call,))
    if kind == "function_call_output":
        result = ToolResult(item["call_id"], text_of(item["output"]))
        return Message("tool", results=(result,))
    if kind != "message" or _is_system(item):
        return None
    return Message("assistant" if item["role"] == "assistant" else "user", text_of(item["content"]))
