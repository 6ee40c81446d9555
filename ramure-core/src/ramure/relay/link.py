"""The link: one lossless way to the daemon, over attaches that are replaced when they break."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy

import anyio
import msgspec
from anyio import BrokenResourceError, CancelScope, ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream, TaskGroup

from ramure._work import to_end
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.machine import Process
from ramure.relay.frames import BadFrame, Decoder, Frame, Kind, encode, encode_json, read_count
from ramure.relay.mux import Changing
from ramure.relay.numbering import ACK_BYTES, Numbering, OutOfStep

VERSION = 1
GONE = 75
"""An attach's exit code where the daemon does not run."""

ATTEMPT = 15.0
"""Seconds in which an attach has to come up."""

FIRST_DELAY, LONGEST_DELAY = 0.02, 2.0
"""Seconds between two attempts."""

ACK_DELAY = 0.03
"""Seconds after which what has arrived is acknowledged in any case."""

SILENT_BEATS = 3
"""Heartbeats in a row without any sign from the machine after which an attach is given up."""

FAREWELL = 2.0
"""Seconds in which the daemon may take its leave."""

BROKEN = (BrokenResourceError, ClosedResourceError, EndOfStream, MachineError, OSError)


class Hello(msgspec.Struct, frozen=True):
    """What each side says first on a connection: the protocol's version, the frames it has got."""

    v: int
    got: int


class Link:
    """Frames to and from the daemon. ``run`` must run in a task of the owner.

    Attributes:
        connected: an attach is up and both sides know where they are.
        ready: set once that was so for the first time, or never will be.
        broken: set once it will never be so again.
    """

    def __init__(
        self,
        machine: str,
        attach: Callable[[bool], Awaitable[Process]],
        *,
        lease: float,
        heartbeat: float | None,
    ) -> None:
        """Make a link.

        Args:
            machine: the machine's name, for errors.
            attach: opens an attach; True until the daemon has answered for the first time.
            lease: seconds out of reach after which the daemon has ended.
            heartbeat: seconds between two signs of life; None where the attach's end is enough.
        """
        self._machine = machine
        self._attach = attach
        self._lease = lease
        self._heartbeat = heartbeat
        self._receive: Callable[[Frame], None]
        self._changed: Callable[[], None]
        self._numbering = Numbering()
        self._urgent: list[bytes] = []
        self._ack_due = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self._wanted = Changing()
        self._failure: MachineError | None = None
        self._life = anyio.CancelScope()
        self._attached = anyio.CancelScope()
        self._heard = True
        self._said = b""
        self._tasks: TaskGroup
        self.connected = False
        self.ready = anyio.Event()
        self.broken = anyio.Event()

    # --- what channels see

    @property
    def error(self) -> MachineError | None:
        """See ``Carrier``."""
        if self._failure is None:
            return None
        error = copy(self._failure).with_traceback(None)  # each who waits raises one of its own
        if isinstance(error, LinkBroken):
            error.outcome_unknown = True
        return error

    @property
    def full(self) -> bool:
        """See ``Carrier``."""
        return self._numbering.full

    def send(self, frame: bytes) -> None:
        """See ``Carrier``."""
        if self._failure is None:
            self._numbering.send(frame)
            self._wanted.wake()

    def bind(self, receive: Callable[[Frame], None], changed: Callable[[], None]) -> None:
        """See ``Carrier``."""
        self._receive, self._changed = receive, changed

    # --- life and end

    async def run(self) -> None:
        """Stay attached until ``leave``, or until the relay is out of reach for good."""
        try:
            async with anyio.create_task_group() as self._tasks:
                with self._life:
                    await self._stay_attached()
        finally:
            self._break("the program let go of the relay")

    async def _stay_attached(self) -> None:
        delay, deadline = FIRST_DELAY, anyio.current_time() + self._lease
        while True:
            if await self._session(deadline):
                delay, deadline = FIRST_DELAY, anyio.current_time() + self._lease
            elif anyio.current_time() >= deadline:
                self._break(f"out of reach for {self._lease:g} s: what ran there has been ended")
            await anyio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 spreads the load
            delay = min(2 * delay, LONGEST_DELAY)

    def fail(self, error: MachineError) -> None:
        """All is over: whoever waits for something gets this error."""
        if self._failure is not None:
            return
        self._failure = error
        self.connected = False
        self.broken.set()
        self.ready.set()
        self._changed()
        self._life.cancel()

    def _break(self, reason: str) -> None:
        self.fail(LinkBroken(reason, machine=self._machine))

    async def leave(self, reason: str) -> None:
        """Have the daemon end, with all that it started; bounded."""
        if self.connected and self._failure is None:
            self._urgent.append(encode(Kind.BYE))
            self._wanted.wake()
            with anyio.move_on_after(FAREWELL):
                while self.connected and self._failure is None:
                    await self._wanted.wait()
        self.fail(MachineGone(reason, machine=self._machine))

    # --- one attach

    async def _session(self, deadline: float) -> bool:
        """Open an attach and use it until it breaks; False where it never came up."""
        first = not self.ready.is_set()
        try:
            with anyio.move_on_at(min(deadline, anyio.current_time() + ATTEMPT)) as attempt:
                process = await self._attach(first)
        except MachineGone as error:
            self.fail(error)
            return False
        except (MachineError, OSError):
            return False  # the next attempt may do better
        if attempt.cancelled_caught:
            return False
        try:
            return await self._use(process)
        finally:
            self._tasks.start_soon(self._discard, process)

    async def _discard(self, process: Process) -> None:
        # Beside the next attempt, which it would hold up where the machine does not answer.
        with suppress(*BROKEN):
            await to_end(process.aclose)

    async def _use(self, process: Process) -> bool:
        greeted = False
        async with anyio.create_task_group() as tasks:
            self._attached = tasks.cancel_scope
            tasks.start_soon(self._write, process.stdin)
            tasks.start_soon(self._overhear, process.stderr)
            if self._heartbeat is not None:
                tasks.start_soon(self._beat, self._heartbeat)
            try:
                await self._read(process.stdout)
            except (BadFrame, OutOfStep, ValueError) as error:
                self._break(f"what the relay says makes no sense: {error}")
            except BROKEN:
                pass
            greeted = self.connected
            self._lost()
            if not greeted:
                await self._why(process)
            tasks.cancel_scope.cancel()
        greeted = greeted or self.connected
        self._lost()
        return greeted

    def _lost(self) -> None:
        if self.connected:
            self.connected = False
            self._numbering.suspend()
            self._wanted.wake()
            self._changed()

    async def _why(self, process: Process) -> None:
        """Find out whether there is still a daemon to attach to."""
        with anyio.move_on_after(FAREWELL), suppress(*BROKEN):
            code = await process.wait()
            if code == GONE or (code > 0 and not self.ready.is_set()):
                await anyio.sleep(0.05)  # its last words may still be on their way
                self._break(self._said.decode("utf-8", "replace").strip() or f"exit code {code}")

    async def _read(self, stdout: ByteReceiveStream) -> None:
        decoder = Decoder()
        with CancelScope(deadline=anyio.current_time() + ATTEMPT) as scope:
            async for data in stdout:
                for frame in decoder.feed(data):
                    self._take(frame)
                if self.connected:
                    scope.deadline = math.inf

    async def _write(self, stdin: ByteSendStream) -> None:
        # The only writer, which never begins before what it wrote last is gone.
        with suppress(*BROKEN):
            await stdin.send(encode_json(Kind.HELLO, 0, Hello(VERSION, self._numbering.got)))
            while True:
                if data := self._next():
                    await stdin.send(data)
                else:
                    await self._wanted.wait()
        # The reader's end tells more, where it comes.
        self._attached.deadline = anyio.current_time() + 2 * FAREWELL

    def _next(self) -> bytes:
        if not (self._urgent or self._ack_due or self._numbering.pending):
            return b""
        urgent = b"".join(self._urgent)
        self._urgent.clear()
        self._ack_due = False
        return urgent + self._numbering.batch()

    async def _overhear(self, stderr: ByteReceiveStream) -> None:
        self._said = b""
        with suppress(*BROKEN):
            async for data in stderr:
                self._said = (self._said + data)[-2000:]

    async def _beat(self, seconds: float) -> None:
        silent = 0
        while silent < SILENT_BEATS:
            self._heard = False
            self._urgent.append(encode(Kind.PING))
            self._wanted.wake()
            await anyio.sleep(seconds)
            # Coming up has a bound of its own.
            silent = silent + 1 if self.connected and not self._heard else 0
        self._attached.cancel()

    # --- what arrives

    def _take(self, frame: Frame) -> None:
        self._heard = True
        if frame.kind >= Kind.OPEN:
            self._numbering.arrived(len(frame.payload))
            self._owe()
            self._receive(frame)
        elif frame.kind == Kind.ACK:
            was_full = self.full
            self._numbering.acknowledge(read_count(frame.payload))
            if was_full and not self.full:
                self._changed()
        elif frame.kind == Kind.HELLO:
            self._numbering.resume(msgspec.json.decode(frame.payload, type=Hello).got)
            self.connected = True
            self.ready.set()
            self._wanted.wake()
            self._changed()  # the hello acknowledges, too

    def _owe(self) -> None:
        if self._numbering.owed >= ACK_BYTES:
            self._owed()
        elif self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY, self._owed)

    def _owed(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._numbering.owed:
            self._ack_due = True
            self._wanted.wake()
