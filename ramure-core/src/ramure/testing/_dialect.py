"""What the APIs have in common: a request is read, and an answer is written frame by frame."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ramure.testing.request import Request
from ramure.testing.script import (
    BrokenJson,
    Fail,
    Finish,
    Part,
    Text,
    Think,
    ToolCall,
)
from ramure.values import Usage

Spoken = Text | Think | ToolCall | BrokenJson
"""The parts that are content."""


class Dialect(ABC):
    """One API, for one answer.

    Args:
        request: what is answered.
        turn: the answer's parts, the calls with their ids.
    """

    api: ClassVar[str]

    def __init__(self, request: Request, turn: Sequence[Part]) -> None:
        self.request = request
        self.spoken = [part for part in turn if isinstance(part, Spoken)]
        self.usage = next((p for p in turn if isinstance(p, Usage)), estimate(request, self.spoken))
        self.calls = [part for part in self.spoken if isinstance(part, ToolCall | BrokenJson)]
        usual = "calls" if self.calls else "stop"
        self.finish = next((p.reason for p in turn if isinstance(p, Finish)), usual)
        self.id = f"answer_{request.number}"

    @staticmethod
    @abstractmethod
    def read(body: Mapping[str, Any]) -> Request:
        """The request that a body is. Raises ``LookupError`` or ``TypeError`` if it is none."""

    @abstractmethod
    def begin(self) -> Iterator[bytes]:
        """The frames before the content."""

    @abstractmethod
    def part(self, index: int, part: Spoken) -> Iterator[bytes]:
        """The frames of ``spoken[index]``."""

    @abstractmethod
    def end(self) -> Iterator[bytes]:
        """The frames after the content."""

    @abstractmethod
    def whole(self) -> Mapping[str, Any]:
        """All of it, for a request that wants no stream."""

    @staticmethod
    @abstractmethod
    def failure(fail: Fail) -> Mapping[str, Any]:
        """The body of an error."""

    @abstractmethod
    def failure_frame(self, fail: Fail) -> bytes:
        """An error in the middle of a stream."""


def arguments(call: ToolCall | BrokenJson) -> str:
    """A call's arguments as the text that a model writes."""
    if isinstance(call, BrokenJson):
        return call.arguments
    return json.dumps(call.arguments, ensure_ascii=False)


def frame(data: Mapping[str, Any], event: str = "") -> bytes:
    """A server-sent event."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of blocks of which some have text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(block["text"] for block in content if isinstance(block.get("text"), str))


def loaded(text: str) -> dict[str, Any]:
    """The arguments that a text is; what is no object stays readable under ``"?"``."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"?": value}


def estimate(request: Request, spoken: Sequence[Spoken]) -> Usage:
    """Tokens for a turn that does not say: four characters each, at least one."""
    asked = len(request.system) + sum(len(message.text) for message in request.messages)
    told = sum(
        len(part.text) if isinstance(part, Text | Think) else len(arguments(part))
        for part in spoken
    )
    return Usage(input=asked // 4 + 1, output=told // 4 + 1)
