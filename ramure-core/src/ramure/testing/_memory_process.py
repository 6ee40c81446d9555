"""Commands of a machine in memory: async Python functions, with streams as processes have them."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, ClosedResourceError, create_memory_object_stream
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ramure._work import to_end
from ramure.machine import Process
from ramure.values import PtySize

if TYPE_CHECKING:
    from ramure.testing.memory import MemoryMachine

PIECES = 16
"""Pieces of output that wait for a reader before the command has to."""

HARMLESS = frozenset({0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
"""Signals that end no program which does not ask for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command, as the function that plays it sees it.

    Attributes:
        machine: where it runs.
        words: the command's words; of a text, those that a shell would make of it.
        cwd: where it runs; absolute.
        env: what was added to the environment.
        user: as whom; None: the machine's own user.
        pty: its terminal's size; None: it has no terminal.
    """

    machine: MemoryMachine
    words: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    user: str | None
    pty: PtySize | None
    stdin: ByteReceiveStream = field(repr=False)
    stdout: ByteSendStream = field(repr=False)
    stderr: ByteSendStream = field(repr=False)

    async def read(self) -> bytes:
        """All of its input."""
        return b"".join([piece async for piece in self.stdin])

    async def say(self, text: str | bytes) -> None:
        """Write to its standard output."""
        await self.stdout.send(text.encode() if isinstance(text, str) else text)

    async def complain(self, text: str | bytes) -> None:
        """Write to its standard error."""
        await self.stderr.send(text.encode() if isinstance(text, str) else text)


Play = Callable[[Call], Awaitable[int | str | bytes | None]]
"""Plays a command: gives its exit code, or its output (then the exit code is 0), or None (0)."""


class _Sending(ByteSendStream):
    def __init__(self, stream: MemoryObjectSendStream[bytes]) -> None:
        self.stream = stream

    async def send(self, item: bytes) -> None:
        if item:
            await self.stream.send(bytes(item))

    async def aclose(self) -> None:
        self.stream.close()


class Pipe:
    """A pipe with its two ends."""

    def __init__(self) -> None:
        sends, receives = create_memory_object_stream[bytes](PIECES)
        self.sends = _Sending(sends)
        self.receives = BufferedByteReceiveStream(receives)
        self._ends: tuple[MemoryObjectSendStream[bytes], MemoryObjectReceiveStream[bytes]]
        self._ends = sends, receives

    def close_sending(self) -> None:
        """Nothing more comes."""
        self._ends[0].close()

    def close_receiving(self) -> None:
        """Nobody reads any more."""
        self._ends[1].close()


@dataclass(frozen=True, slots=True)
class Pipes:
    """A process's three."""

    stdin: Pipe = field(default_factory=Pipe)
    stdout: Pipe = field(default_factory=Pipe)
    stderr: Pipe = field(default_factory=Pipe)


class MemoryProcess(Process):
    """A task that plays a command; ended by a signal, it is cancelled."""

    def __init__(self, play: Play, call: Call, pipes: Pipes, errors: list[Exception]) -> None:
        self.stdin, self.stdout = pipes.stdin.sends, pipes.stdout.receives
        self.stderr = pipes.stderr.receives
        self._pipes = pipes
        self._errors = errors
        self._ended = asyncio.Event()
        self._code = 0
        self._told: int | None = None
        if call.pty is not None:
            pipes.stderr.close_sending()
        self._task = asyncio.get_running_loop().create_task(self._play(play, call))
        self._task.add_done_callback(self._end)

    async def _play(self, play: Play, call: Call) -> int:
        try:
            result = await play(call)
            if isinstance(result, str | bytes):
                await call.say(result)
        except (BrokenResourceError, ClosedResourceError):  # whoever read from it has gone
            return -signal.SIGPIPE
        except Exception as error:  # noqa: BLE001 whatever it raises, the command has failed
            self._errors.append(error)
            await call.complain(traceback.format_exc())
            return 1
        return result if isinstance(result, int) else 0

    def _end(self, task: asyncio.Task[int]) -> None:
        pipes = self._pipes
        pipes.stdin.close_receiving()
        pipes.stdout.close_sending()
        pipes.stderr.close_sending()
        if task.cancelled():
            self._code = -(self._told or signal.SIGKILL)
        else:
            self._code = 1 if task.exception() else task.result()
        self._ended.set()

    def on_end(self, call: Callable[[], object]) -> None:
        """Have something called at its end."""
        self._task.add_done_callback(lambda _: call())

    async def wait(self) -> int:
        """See ``Process.wait``."""
        await self._ended.wait()
        return self._code

    async def signal(self, number: int) -> None:
        """See ``Process.signal``. A function is not told of signals: it is cancelled or goes on."""
        if number not in HARMLESS and not self._ended.is_set():
            self._told = self._told or number
            self._task.cancel()

    async def kill(self) -> None:
        """See ``Process.kill``."""
        await self.signal(signal.SIGKILL)
        await to_end(self._ended.wait)

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``: nobody is told."""

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            await self.kill()
        finally:
            self._pipes.stdin.close_sending()
            self._pipes.stdout.close_receiving()
            self._pipes.stderr.close_receiving()
