"""A bridge in Python: the agent's side of the agent protocol.

For tests, for scripted harnesses, for benchmarks, and to be read by those who write a bridge:

    async with BridgeClient(address, agent="worker", token=token) as bridge:
        await bridge.ready(harness="mine")
        result = await bridge.call("finish", {"summary": "all done"})

It connects again until it is closed, told to end, or out of reach for longer than the lease.
Messages from the run are answered with ``queued`` by itself; ``receive`` gives them.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from typing import Any, Self

import anyio
import anyio.abc
import msgspec

from ramure.errors import RamureError
from ramure.run.numbering import Numbering, OutOfStepError, TooLargeError, encode
from ramure.run.protocol import (
    VERSION,
    Ack,
    Activity,
    Bye,
    Call,
    Cancel,
    Deliver,
    Failure,
    FromAgent,
    FromRun,
    Hello,
    Interrupt,
    Ping,
    Pong,
    Queued,
    Ready,
    Refused,
    Result,
    State,
    Stop,
    Taken,
    ToolDef,
    Tools,
    Used,
    Welcome,
)
from ramure.testing._wires import MAX_LINE, Wire, dial

FIRST_DELAY, LONGEST_DELAY = 0.02, 2.0
"""Seconds between two attempts to connect."""

CLOSING = 1.0
"""Seconds in which the run may take what was still to be said."""

Incoming = FromRun | Welcome | Refused | Ack | Ping | Pong

_decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(Incoming)


class BridgeEndedError(RamureError):
    """The bridge has ended: it was closed, told to end, or out of reach for too long."""


class BridgeClient:
    """The agent's side of a channel. Used with ``async with``.

    Attributes:
        session: as in ``Hello``.
        tools: what the run offers, by name.
        welcome: the run's latest welcome; None before the first.
        welcomes: how often the run has welcomed this bridge.
        refusal: the run's latest refusal.
        interrupts: how often the run has asked to abort the turn.
        connected: True while the run's welcome holds.
        ended: why the agent's program must end; "" while it may go on.
    """

    def __init__(
        self,
        address: str,
        *,
        agent: str,
        token: str,
        session: str | None = None,
        lease: float = 10.0,
    ) -> None:
        self.session = session or secrets.token_hex(8)
        self.tools: dict[str, ToolDef] = {}
        self.welcome: Welcome | None = None
        self.welcomes = 0
        self.refusal: Refused | None = None
        self.interrupts = 0
        self.connected = False
        self.ended = ""
        self._address = address
        self._agent = agent
        self._token = token
        self._lease = lease
        self._numbering = Numbering(
            max_message=MAX_LINE, max_messages=1_000_000, max_bytes=4 * MAX_LINE
        )
        self._calls: dict[str, asyncio.Future[Result]] = {}
        self._inbox: deque[Deliver] = deque()
        self._counter = 0
        self._wire: Wire | None = None
        self._lost = anyio.Event()
        self._changed = anyio.Event()
        self._dialling = anyio.CancelScope()

    # --- life

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._keep_connected)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end("the bridge was closed")
        with anyio.move_on_after(CLOSING, shield=True):
            await self._until_lost()
        self.drop()
        await self._tasks.__aexit__(None, None, None)

    async def _until_lost(self) -> None:
        while self._wire is not None:
            await self._changed.wait()

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = reason
        if self._wire is not None:
            self._numbering.write_ack()
            self._wire.transport.close()
        self._numbering.close()
        self._dialling.cancel()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(BridgeEndedError(reason))
        self._notify()

    async def wait_ended(self) -> str:
        """Wait until the agent's program must end; give the reason."""
        while not self.ended:
            await self._changed.wait()
        return self.ended

    async def wait_connected(self) -> Welcome:
        """Wait until the run has welcomed the bridge; give the welcome."""
        await self._until(lambda: self.connected)
        assert self.welcome is not None
        return self.welcome

    async def drained(self) -> None:
        """Wait until the run has acknowledged everything."""
        await self._until(lambda: self._numbering.acknowledged == self._numbering.sent)

    async def _until(self, reached: Any) -> None:
        while not reached():
            self._check()
            await self._changed.wait()

    def _check(self) -> None:
        if self.ended:
            raise BridgeEndedError(self.ended)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # --- what an agent says

    def send(self, message: FromAgent) -> int:
        """Say something; it is kept until the run has acknowledged it.

        Raises:
            BridgeEndedError: the bridge has ended.
            TooLargeError: the run takes no message of this size.
        """
        self._check()
        return self._numbering.send(message)

    async def ready(self, harness: str = "python", **fields: Any) -> None:
        """The program is up; returns once the run knows."""
        self.send(Ready(harness=harness, **fields))
        await self.drained()

    async def call(self, tool: str, arguments: Any = None, *, call: str | None = None) -> Result:
        """Call a tool and wait for its result. Being cancelled aborts the call.

        A call that is larger than the run takes gets an error as its result at once.

        Raises:
            BridgeEndedError: the bridge ended before the result came.
        """
        self._counter += 1
        call = call or f"call-{self._counter}"
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls[call] = answer
        try:
            self.send(Call(call=call, tool=tool, arguments={} if arguments is None else arguments))
            return await answer
        except TooLargeError as error:
            return Result(call=call, ok=False, text=f"the call is too large: {error}")
        except asyncio.CancelledError:
            if not self.ended:
                self.send(Cancel(call=call))
            raise
        finally:
            del self._calls[call]

    async def receive(self) -> Deliver:
        """The next message from the run."""
        await self._until(lambda: self._inbox)
        return self._inbox.popleft()

    async def interrupted(self) -> None:
        """Wait until the run asks, from now on, to abort the turn."""
        before = self.interrupts
        await self._until(lambda: self.interrupts > before)

    def taken(self, message: Deliver) -> None:
        """The agent has taken the message up."""
        self.send(Taken(id=message.id))

    def state(self, state: str) -> None:
        """``busy`` or ``idle``."""
        self.send(State(state=state))

    def event(self, type: str, data: Any = None) -> None:  # noqa: A002 the protocol's own word
        """Something the program did."""
        self.send(Activity(type=type, data=data))

    def usage(self, **fields: Any) -> None:
        """What a model call used: the fields of ``Used``."""
        self.send(Used(**fields))

    def failure(self, message: str, *, final: bool = True) -> None:
        """The model failed."""
        self.send(Failure(message=message, final=final))

    async def bye(self, reason: str = "") -> None:
        """The program ends by itself; returns once the run knows."""
        self.send(Bye(reason=reason))
        await self.drained()

    # --- faults, for tests

    def drop(self) -> None:
        """Lose the connection now."""
        if self._wire is not None:
            self._wire.transport.abort()

    def pause_reading(self) -> None:
        """Read nothing more from this connection."""
        if self._wire is not None:
            self._wire.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._wire is not None:
            self._wire.transport.resume_reading()

    def forget_acks(self, forget: bool = True) -> None:
        """Acknowledge nothing, or go on acknowledging."""
        self._numbering.mute = forget

    def raw(self, data: bytes) -> None:
        """Send these very bytes as one message."""
        if self._wire is not None:
            self._wire.write(data)

    def repeat(self, count: int = 1) -> None:
        """Send the last unacknowledged messages a second time."""
        for frame in self._numbering.kept()[-count:]:
            self.raw(frame)

    # --- connections

    async def _keep_connected(self) -> None:
        delay, seen = FIRST_DELAY, anyio.current_time()
        with self._dialling:
            while not self.ended:
                self._lost, welcomes = anyio.Event(), self.welcomes
                try:
                    await dial(self._address, self)
                except OSError:
                    if anyio.current_time() - seen > self._lease:
                        self._end(f"the run was out of reach for {self._lease:g} s")
                else:
                    await self._lost.wait()
                    seen = anyio.current_time()
                delay = FIRST_DELAY if self.welcomes > welcomes else min(2 * delay, LONGEST_DELAY)
                await anyio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 spreads the load

    def opened(self, wire: Wire) -> None:
        """Prove who it is on a new connection."""
        self._wire = wire
        hello = Hello(
            v=VERSION,
            agent=self._agent,
            token=self._token,
            session=self.session,
            got=self._numbering.got,
        )
        wire.write(encode(hello))

    def readable(self, wire: Wire) -> None:
        """The run reads again."""
        self._numbering.pump()

    def closed(self, wire: Wire) -> None:
        """A connection is gone."""
        self._wire, self.connected = None, False
        self._numbering.suspend()
        self._lost.set()
        self._notify()

    # --- what the run says

    def received(self, wire: Wire, frame: bytes) -> None:
        """Take one message."""
        if self.ended:
            return
        message = _decoder.decode(frame)
        try:
            self._take(wire, message)
        except OutOfStepError:
            wire.transport.abort()  # resumed where both know where they are

    def _take(self, wire: Wire, message: Incoming) -> None:
        if isinstance(message, Ack):
            self._numbering.acknowledge(message.n)
            self._notify()
        elif isinstance(message, Welcome):
            self._welcomed(wire, message)
        elif isinstance(message, Refused):
            self._refused(message)
        elif isinstance(message, Ping):
            wire.write(encode(Pong()))
        elif not isinstance(message, Pong) and self._numbering.arrived(message.n):
            self._obey(message)

    def _obey(self, message: FromRun) -> None:
        match message:
            case Result():
                answer = self._calls.get(message.call)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case Deliver():
                self._inbox.append(message)
                self.send(Queued(id=message.id))
                self._notify()
            case Tools():
                self.tools = {tool.name: tool for tool in message.tools}
                self._notify()
            case Interrupt():
                self.interrupts += 1
                self._notify()
            case Stop():
                self._end(message.reason or "the run is over")

    def _welcomed(self, wire: Wire, message: Welcome) -> None:
        self.welcome, self.connected = message, True
        self.welcomes += 1
        self._lease = message.lease
        self._numbering.max_message = message.max_message or MAX_LINE
        self._numbering.resume(wire, message.got)
        self._notify()

    def _refused(self, message: Refused) -> None:
        self.refusal = message
        if not message.retry:
            self._end(f"the run refused this agent: {message.reason}")
        self._notify()
