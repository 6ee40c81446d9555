"""The agent protocol: the messages between a run and the bridge inside an agent's program.

JSON objects; one a line over a unix socket, one a frame over WebSocket. ``t`` names the message.
``docs/reference/protocol.md`` explains it for authors of bridges in other languages.

A connection starts with ``hello`` and ``welcome`` (or ``refused``, and the end). Then *numbered*
messages go both ways: ``n`` counts from 1 in each direction over the whole life of an
incarnation. The receiver acknowledges with ``ack``; the sender keeps what is not acknowledged
and, after a new ``hello``/``welcome`` that tells each side what the other got, sends the rest
again. A receiver drops numbers it has seen. So nothing is lost, doubled or reordered by a broken
connection.
"""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1


class Message(msgspec.Struct, tag_field="t", omit_defaults=True):
    """Any message."""


# --- before and beside the numbered ones, both unnumbered


class Hello(Message, tag="hello", kw_only=True):
    """The bridge's first message.

    Attributes:
        v: protocol version.
        agent: the agent's address.
        token: its proof.
        session: random, chosen once by the bridge for its whole life. A second bridge with
            the same token is refused.
        got: the last number it received from the run.
    """

    v: int
    agent: str
    token: str
    session: str
    got: int = 0


class Welcome(Message, tag="welcome", kw_only=True):
    """The run's answer.

    Attributes:
        got: the last number the run received from this bridge.
        lease: seconds the agent may go on once the connection is closed.
        max_message: bytes that one message may have.
    """

    v: int
    run: str
    got: int = 0
    lease: float = 10.0
    max_message: int = 0


class Refused(Message, tag="refused", kw_only=True):
    """The run's other answer; the connection ends.

    Attributes:
        code: ``version``, ``token``, ``ended``, ``session``, ``limit`` or ``malformed``.
        retry: False: the agent's program must end; True: try again later.
    """

    code: str
    reason: str
    retry: bool = False


class Ack(Message, tag="ack"):
    """Everything up to and with ``n`` has arrived."""

    n: int


class Ping(Message, tag="ping"):
    """Are you there? Answered with ``pong`` at once."""


class Pong(Message, tag="pong"):
    """I am."""


# --- from the run to the agent, numbered


class Numbered(Message):
    """A message with a number; 0 until the channel sends it."""

    n: int = 0


class ToolDef(msgspec.Struct):
    """A tool as the model sees it; ``parameters`` is JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Tools(Numbered, tag="tools", kw_only=True):
    """All tools of the agent from now on."""

    tools: list[ToolDef]


class Deliver(Numbered, tag="message", kw_only=True):
    """Put a message to the agent. Answered with ``queued``, later ``taken``."""

    id: str
    text: str


class Result(Numbered, tag="result", kw_only=True):
    """The answer to ``call``.

    ``ok`` False: ``text`` is an error the model can act on. ``end`` True: the agent's turn may
    end here without a further model call.
    """

    call: str
    ok: bool
    text: str
    end: bool = False


class Interrupt(Numbered, tag="interrupt"):
    """Abort the current turn."""


class Stop(Numbered, tag="stop", kw_only=True):
    """End the agent's program."""

    reason: str = ""


# --- from the agent to the run, numbered


class Ready(Numbered, tag="ready", kw_only=True):
    """The program is up.

    Attributes:
        problem: why it cannot work (no model, no key), in words.
        remembers: it goes on with the conversation of an earlier incarnation.
    """

    harness: str
    version: str = ""
    pid: int = 0
    model: str = ""
    problem: str = ""
    remembers: bool = False


class Call(Numbered, tag="call", kw_only=True):
    """The model calls a tool. ``call`` is unique in this incarnation."""

    call: str
    tool: str
    arguments: Any = None


class Cancel(Numbered, tag="cancel", kw_only=True):
    """The call was aborted in the agent; its handler is cancelled. No ``result`` is awaited."""

    call: str


class Queued(Numbered, tag="queued", kw_only=True):
    """The bridge holds the message."""

    id: str


class Taken(Numbered, tag="taken", kw_only=True):
    """The agent took the message up."""

    id: str


class State(Numbered, tag="state", kw_only=True):
    """``busy`` or ``idle``. ``idle`` means: settled, nothing queued, no retry pending."""

    state: str


class Activity(Numbered, tag="event", kw_only=True):
    """Something the program did: ``turn_start``, ``text``, ``tool_start``, and so on."""

    type: str
    data: Any = None


class Used(Numbered, tag="usage", kw_only=True):
    """What one model call used; ``cost`` in US dollars."""

    model: str = ""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float = 0.0


class Failure(Numbered, tag="failure", kw_only=True):
    """The model failed. ``final`` False: the program is trying again by itself."""

    message: str
    final: bool = True


class Bye(Numbered, tag="bye", kw_only=True):
    """The program is ending by itself (a person quit it, …)."""

    reason: str = ""


FromAgent = Ready | Call | Cancel | Queued | Taken | State | Activity | Used | Failure | Bye
FromRun = Tools | Deliver | Result | Interrupt | Stop
