"""What a scripted model or a scripted agent says, turn by turn.

A *part* is one thing done (``Text``, ``ToolCall``, ``Fail``, …), a *turn* is one answer: a part, or
several in a list. A *script* is a list of turns, or a function from ``Request`` to a turn::

    [ToolCall("search", query="haiku"), [Text("Found."), ToolCall("finish", summary="x")], "Bye."]

A turn with tool calls is followed by the next turn once the results are there, as with any model; a
turn without ends the agent's work on a message. A place in the list may itself be a function. A
plain string is a ``Text``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from ramure.testing.request import Request
from ramure.values import Usage


@dataclass(frozen=True, slots=True)
class Text:
    """Words for the person.

    Attributes:
        text: what is said.
        chunk: characters a piece, when streamed; 0 for all at once.
        pause: seconds between two pieces.
    """

    text: str
    chunk: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Think:
    """Reasoning, shown apart from the answer. As ``Text``."""

    text: str
    chunk: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True, init=False)
class ToolCall:
    """A call of a tool: ``ToolCall("finish", summary="done")``.

    Attributes:
        name: the tool.
        arguments: by name; JSON.
        id: chosen when it is played, unless ``with_id`` chose one.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    def __init__(self, name: str, /, **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "id", "")

    def with_id(self, id_: str) -> Self:
        """The same call under this id."""
        call = type(self)(self.name, **self.arguments)
        object.__setattr__(call, "id", id_)
        return call


@dataclass(frozen=True, slots=True)
class BrokenJson:
    """A tool call whose arguments are this text and no good JSON: cut off, or of another kind."""

    name: str
    arguments: str = '{"cut": "of'
    id: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """The model refuses: an HTTP status, or an error in the stream where something was said before.

    Attributes:
        status: 401 and 400 are final for most agents; 429, 500 and 529 are tried again.
        message: "" for one that is usual for the status.
        retry_after: seconds, for the header of that name.
    """

    status: int = 500
    message: str = ""
    retry_after: float | None = None

    @property
    def text(self) -> str:
        """The message, or what is usual for the status."""
        return self.message or _USUAL.get(self.status, "the scripted model fails")


_USUAL = {
    400: "the request is invalid",
    401: "the API key is invalid",
    429: "rate limit exceeded",
    500: "internal server error",
    529: "overloaded",
}


@dataclass(frozen=True, slots=True)
class Delay:
    """Nothing is said for so many seconds; then the turn goes on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing is said until the other side gives up, or for so many seconds before a ``Drop``."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks here: at once, or in the middle of what was said before it."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes of the response's body as they are. A turn of nothing else is sent without a frame."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the answer ends, where it is not what follows from its parts."""

    reason: Literal["stop", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class Exit:
    """The agent's program ends with this exit code. Of a scripted agent only."""

    code: int = 0


@dataclass(frozen=True, slots=True)
class Crash:
    """The agent's program is gone without a word, as if killed. Of a scripted agent only."""


Part = (
    Text
    | Think
    | ToolCall
    | BrokenJson
    | Usage
    | Fail
    | Delay
    | Hang
    | Drop
    | Raw
    | Finish
    | Exit
    | Crash
)
Turn = Part | str | Sequence[Part | str]
Play = Callable[[Request], Turn | Awaitable[Turn]]
Script = Sequence[Turn | Play] | Play
Scripts = Script | Mapping[str, Script]


def parts(turn: Turn) -> tuple[Part, ...]:
    """The parts of a turn, strings turned into ``Text``.

    Raises:
        TypeError: something in it is no part.
    """
    several = [turn] if isinstance(turn, Part | str) else turn
    if not isinstance(several, Sequence):
        raise TypeError(f"a turn is a part, a string, or a list of them; not {turn!r}")
    return tuple(_part(item) for item in several)


def _part(item: Part | str) -> Part:
    if isinstance(item, str):
        return Text(item)
    if not isinstance(item, Part):
        raise TypeError(f"no part of a script: {item!r}")
    return item


def pieces(text: str, chunk: int = 0) -> Iterator[str]:
    """``text`` in pieces of ``chunk`` characters; in one where that is 0. None of "" ."""
    size = chunk or max(len(text), 1)
    return (text[start : start + size] for start in range(0, len(text), size))
