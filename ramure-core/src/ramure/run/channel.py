"""A channel: one incarnation's reliable, ordered pipe of messages to and from its bridge.

It outlives its connections and knows nothing of agents or tools. What comes in is handed on once,
in order; what goes out is kept until it is acknowledged. See ``protocol.py`` for the messages.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import msgspec

from ramure.errors import AgentEnded, AgentError, UsageError
from ramure.run import numbering
from ramure.run.lines import Overlong
from ramure.run.numbering import BacklogError, Numbering, OutOfStepError, TooLargeError, encode
from ramure.run.protocol import (
    VERSION,
    Ack,
    FromAgent,
    FromRun,
    Hello,
    Numbered,
    Ping,
    Pong,
    Refused,
    Result,
    Stop,
    Welcome,
)
from ramure.run.salvage import mend, remains

log = logging.getLogger("ramure")

STRIKES = 3
"""So often in a row a bridge may break the rules at the same message before it is given up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run takes from, and keeps for, bridges.

    Attributes:
        max_message: bytes of one message, in both directions.
        backlog_messages, backlog_bytes: what is kept for one bridge that does not acknowledge.
        max_hello: bytes of the first message.
        hello_timeout: seconds in which a connection has to prove itself.
        max_unproven: connections that have not proved themselves yet, at a time.
        ping_after: seconds between two signs of life asked for over a WebSocket.
        silent_after: seconds of silence after which a WebSocket connection is given up.
    """

    max_message: int = 16 * 1024 * 1024
    backlog_messages: int = 10_000
    backlog_bytes: int = 64 * 1024 * 1024
    max_hello: int = 64 * 1024
    hello_timeout: float = 5.0
    max_unproven: int = 1000
    ping_after: float = 15.0
    silent_after: float = 45.0


class Link(numbering.Link, Protocol):
    """One connection, as a channel sees it."""

    def close(self, refusal: Refused | None = None) -> None:
        """End the connection, perhaps with a last word. Idempotent."""


Incoming = FromAgent | Ack | Ping | Pong

_decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(Incoming)
_PONG = encode(Pong())


class Channel:
    """One incarnation's pipe.

    Attributes:
        agent: the agent's address.
        token: its proof. Secret.
    """

    def __init__(
        self,
        *,
        run: str,
        agent: str,
        token: str,
        lease: float,
        on_message: Callable[[FromAgent], None],
        on_link: Callable[[bool], None] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        self.agent = agent
        self.token = token
        self.limits = limits
        self._run = run
        self._lease = lease
        self._on_message = on_message
        self._on_link = on_link
        self._numbering = Numbering(
            max_message=limits.max_message,
            max_messages=limits.backlog_messages,
            max_bytes=limits.backlog_bytes,
        )
        self._link: Link | None = None
        self._session = ""
        self._closed = ""
        self._strikes = (0, 0)
        self._given_up = ""
        self._changed: anyio.Event | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self._link else "not connected"
        return f"<Channel of {self.agent!r}: {state}>"

    # --- for the run

    @property
    def connected(self) -> bool:
        """True while the bridge has a connection."""
        return self._link is not None

    def send(self, message: FromRun) -> int:
        """Number a message, keep it until it is acknowledged, and write it where connected.

        A ``Result`` that is too large reaches the agent as an error instead: a call is always
        answered.

        Raises:
            AgentEnded: the channel is closed.
            AgentError: too much is unacknowledged, or the message is too large.
            UsageError: it cannot be put as JSON.
        """
        if self._closed:
            raise AgentEnded(self._closed, agent=self.agent)
        try:
            return self._numbering.send(message)
        except TooLargeError as error:
            if isinstance(message, Result):
                return self.send(Result(call=message.call, ok=False, text=f"result lost: {error}"))
            raise AgentError(f"the message is too large: {error}", agent=self.agent) from None
        except BacklogError as error:
            state = "though it is connected" if self._link else "and it is not connected"
            raise AgentError(f"it takes no messages: {error}, {state}", agent=self.agent) from None
        except (TypeError, ValueError, RecursionError) as error:
            kind = type(message).__name__
            raise UsageError(f"{kind} for agent {self.agent!r} is not JSON: {error}") from error

    async def wait_connected(self) -> None:
        """Wait until the bridge has a connection. Raises ``AgentEnded`` once closed."""
        await self._until(lambda: self._link is not None)

    async def drained(self) -> None:
        """Wait until all that was sent is acknowledged. Raises ``AgentEnded`` once closed."""
        await self._until(lambda: self._numbering.acknowledged == self._numbering.sent)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not self._closed:
            if reached():
                return
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
        raise AgentEnded(self._closed, agent=self.agent)

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def close(self, reason: str, *, stop: bool = True) -> None:
        """End the channel for good. Idempotent.

        Args:
            reason: why, for the bridge and for whoever uses the channel afterwards.
            stop: tell the bridge now that its program must end. Later connections are told so in
                any case.
        """
        if self._closed:
            return
        link = self._link
        self._numbering.write_ack()
        if link is not None and stop:
            try:
                self.send(Stop(reason=reason))
            except AgentError:
                log.debug("agent %r does not read; it is told when it comes back", self.agent)
        self._closed = reason or "it was ended"
        if link is not None:
            self.detach(link)
            link.close(self._ended() if stop else None)
        self._numbering.close()
        self._notify()

    def _ended(self) -> Refused:
        return Refused(code="ended", reason=self._closed, retry=False)

    # --- for connections

    def attach(self, link: Link, hello: Hello) -> Refused | None:
        """Go on over this connection, which has proved itself; or say why not."""
        if refusal := self._objection(hello):
            return refusal
        self._session = hello.session
        former, self._link = self._link, link
        if former is not None:
            former.close()
        link.write(
            encode(
                Welcome(
                    v=VERSION,
                    run=self._run,
                    got=self._numbering.got,
                    lease=self._lease,
                    max_message=self.limits.max_message,
                )
            )
        )
        self._numbering.resume(link, hello.got)
        self._notify()
        if former is None:
            self._tell_link(connected=True)
        return None

    def _objection(self, hello: Hello) -> Refused | None:
        if self._closed:
            return self._ended()
        if hello.v != VERSION:
            reason = f"this run speaks version {VERSION} of the protocol, the bridge {hello.v}"
            return Refused(code="version", reason=reason)
        if not hello.session:
            return Refused(code="malformed", reason="hello without a session")
        if self._given_up:
            return Refused(code="malformed", reason=self._given_up)
        if self._session not in ("", hello.session):
            reason = "another bridge has used this agent's token"
            return Refused(code="session", reason=reason)
        try:
            self._numbering.check(hello.got)
        except OutOfStepError as error:
            return Refused(code="malformed", reason=str(error))
        return None

    def detach(self, link: Link) -> None:
        """This connection has ended. Nothing happens where another has replaced it."""
        if link is not self._link:
            return
        self._link = None
        self._numbering.suspend()
        self._tell_link(connected=False)

    def resume(self, link: Link) -> None:
        """The other side reads again."""
        if link is self._link:
            self._numbering.pump()
            self._numbering.write_ack()

    def receive(self, link: Link, frame: bytes | Overlong) -> None:
        """Take one message from this connection."""
        if link is not self._link:
            return
        message, problem = _read(frame, self.limits.max_message)
        try:
            if message is not None:
                self._take(link, message)
            else:
                self._salvage(frame, problem)
        except OutOfStepError as error:
            self._strike(str(error))

    def _take(self, link: Link, message: Incoming) -> None:
        if isinstance(message, Numbered):
            if self._numbering.arrived(message.n):
                self._hand_on(message)
        elif isinstance(message, Ack):
            self._numbering.acknowledge(message.n)
            self._notify()
        elif isinstance(message, Ping) and link.writable:
            link.write(_PONG)

    def _hand_on(self, message: Any) -> None:
        try:
            self._on_message(message)
        except (Exception, CancelledError):  # whoever listens must not end the connection
            log.exception("agent %r: failed to handle %s", self.agent, type(message).__name__)

    # --- what should not come

    def _salvage(self, frame: bytes | Overlong, problem: str) -> None:
        """Count a message that cannot be read as received, and answer it where it is a call."""
        left = remains(frame)
        if not left.n:
            raise OutOfStepError(f"a message cannot be read: {problem}")
        if not self._numbering.arrived(left.n):
            return
        log.warning("agent %r: message %d is left out: %s", self.agent, left.n, problem)
        if not left.call:
            return
        text = f"the run could not read this call: {problem}"
        try:
            self.send(Result(call=left.call, ok=False, text=text))
        except AgentError as error:
            log.warning("%s", error)

    def _strike(self, problem: str) -> None:
        """Break the connection; the bridge resumes, unless the same thing happens again."""
        got = self._numbering.got
        count = self._strikes[1] + 1 if self._strikes[0] == got else 1
        self._strikes = (got, count)
        if count >= STRIKES:
            self._given_up = problem
        log.warning("agent %r: connection ended: %s", self.agent, problem)
        if (link := self._link) is not None:
            self.detach(link)
            link.close(Refused(code="malformed", reason=problem, retry=not self._given_up))

    def _tell_link(self, *, connected: bool) -> None:
        if self._on_link is None:
            return
        try:
            self._on_link(connected)
        except (Exception, CancelledError):  # as in _hand_on
            log.exception("agent %r: failed to handle its connection", self.agent)


def _read(frame: bytes | Overlong, limit: int) -> tuple[Incoming | None, str]:
    """The message; or None and what is wrong with it."""
    if isinstance(frame, Overlong) or len(frame) > limit:
        return None, f"it has more than {limit} bytes"
    try:
        return _decoder.decode(frame), ""
    except (ValueError, RecursionError) as error:
        problem = str(error)
    try:
        return _decoder.decode(mend(frame) or b""), ""
    except (ValueError, RecursionError):
        return None, problem
