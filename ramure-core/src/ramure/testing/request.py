"""What a scripted model is asked: one shape for every API, so that a script need not know which."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ramure.run.protocol import ToolDef

if TYPE_CHECKING:
    from ramure.testing.script import ToolCall

Role = Literal["user", "assistant", "tool"]
_TAG = re.compile(r"\[script:\s*([^\]\s]+)\s*\]")
_SESSION_HEADERS = ("x-session-affinity", "session_id", "x-session-id")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call. ``name`` is "" where no call in the conversation has its id."""

    id: str
    text: str
    name: str = ""
    error: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the conversation: text and, by role, calls or results."""

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a scripted model.

    Attributes:
        api: ``openai-completions``, ``openai-responses``, ``anthropic-messages`` or ``scripted``.
        model: the model's id, as asked for.
        system: the system prompt.
        messages: the conversation so far, oldest first.
        tools: what the model may call.
        stream: whether the answer is to be streamed.
        headers: by lower-case name. May hold a key: not shown by ``repr``.
        body: what was sent. Not shown by ``repr``.
        number: counts from 1 over all requests of a server.
        turn: counts from 0 in this conversation, repeated requests included.
        agent: the agent's address, where a scripted agent asks; else "".
        session: names the conversation, where a scripted agent asks; else "".
    """

    api: str
    model: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDef, ...] = ()
    stream: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    number: int = 0
    turn: int = 0
    agent: str = ""
    session: str = ""

    @property
    def text(self) -> str:
        """What the user said last; "" before they said anything."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results that came since the model last spoke."""
        fresh: list[ToolResult] = []
        for message in reversed(self.messages):
            if message.role == "assistant":
                break
            fresh[:0] = message.results
        return tuple(fresh)

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The names of the tools."""
        return tuple(tool.name for tool in self.tools)

    @property
    def tag(self) -> str:
        """``x`` where the system prompt, or else a user's message, says ``[script: x]``."""
        said = (message.text for message in self.messages if message.role == "user")
        found = (_TAG.search(text) for text in (self.system, *said))
        return next((match[1] for match in found if match), "")

    @property
    def conversation(self) -> str:
        """The same for all requests of one conversation.

        The session that the agent names in a header (pi does, in a folder that ``pi_folder``
        wrote); without one, what the conversation began with.
        """
        if self.session:
            return self.session
        for header in _SESSION_HEADERS:
            if self.headers.get(header):
                return self.headers[header]
        first = next((m.text for m in self.messages if m.role == "user"), "")
        start = f"{self.model}\0{self.system}\0{first}"
        return hashlib.blake2s(start.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def key(self) -> str:
        """The API key that came with it. Secret."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key") or bearer


def normalised(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The same messages in the one shape that all APIs share.

    What an API tells in several messages (each result, each call) is one, and each result bears the
    name of the tool whose call it answers.
    """
    merged: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.calls}
        results = tuple(replace(r, name=names.get(r.id, "")) for r in message.results)
        last = merged[-1] if merged else None
        if last is not None and last.role == message.role != "user":
            text = "\n".join(filter(None, (last.text, message.text)))
            merged[-1] = Message(
                last.role, text, last.calls + message.calls, last.results + results
            )
        else:
            merged.append(replace(message, results=results))
    return tuple(merged)
