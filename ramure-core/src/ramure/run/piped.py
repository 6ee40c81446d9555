"""A command on any machine for a person's pipes: no terminal, and its two outputs kept apart.

The frames (see ``rpc.py``)::

    → {"data": "aGkK"}, {"eof": true}    what the command reads, base64, and its end
    ← {"taken": 1}                       so many frames of that have been taken by the command
    ← {"data": "…"}, {"errors": "…"}     what it writes to stdout and to stderr
    ← {"exit": 0}                        the last frame; or {"error": "…"}

Whoever sends has at most ``WINDOW`` frames on their way that are not taken yet. So this side always
reads what comes, and learns of a person who leaves although the command reads nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ramure.machine import Machine, Process
from ramure.run.rpc import Frames

WINDOW = 16
"""Frames that may be on their way to the command at a time."""

DRAIN = 1.0
"""Seconds of silence after the command's end; then only a child still holds its outputs."""


async def serve_command(
    frames: Frames,
    machine: Machine,
    command: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run ``command`` until it ends or the person hangs up, which kills it.

    Raises:
        FileNotFoundError, MachineGone, LinkBroken: as ``Machine.open_process``.
    """
    process = await machine.open_process(list(command), cwd=cwd, env=env)
    typed, read = anyio.create_memory_object_stream[bytes](WINDOW)
    outputs = _Outputs(frames)
    async with process, typed, read, anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, frames, typed, tasks.cancel_scope)
        tasks.start_soon(_feed, process, read, frames)
        tasks.start_soon(outputs.pass_on, process.stdout, "data")
        tasks.start_soon(outputs.pass_on, process.stderr, "errors")
        code = await process.wait()
        await outputs.drained()
        await frames.send({"exit": code})
        tasks.cancel_scope.cancel()


async def _listen(
    frames: Frames, typed: MemoryObjectSendStream[bytes], whole: anyio.CancelScope
) -> None:
    """What the person sends; once they have gone, the command ends."""
    while (frame := await frames.receive()) is not None:
        if frame.get("eof"):
            typed.close()
            continue
        try:
            typed.send_nowait(base64.b64decode(frame["data"], validate=True))
        except (KeyError, TypeError, binascii.Error, anyio.ClosedResourceError):
            continue  # a frame that means nothing
        except anyio.BrokenResourceError:
            continue  # the command reads no more
        except anyio.WouldBlock:
            break  # nobody who keeps to the window comes here
    whole.cancel()


async def _feed(process: Process, read: MemoryObjectReceiveStream[bytes], frames: Frames) -> None:
    async for data in read:
        # Where the command reads no more, it does not matter what comes.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.send(data)
        await frames.send({"taken": 1})
    await process.stdin.aclose()


class _Outputs:
    """What a command writes, on its way to the person."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._open = 2
        self._sending = 0
        self._sent = 0
        self._ended = anyio.Event()

    async def pass_on(self, stream: ByteReceiveStream, name: str) -> None:
        """Send all of one output."""
        async for data in stream:
            self._sending += 1
            await self._frames.send({name: base64.b64encode(data).decode()})
            self._sending -= 1
            self._sent += 1
        self._open -= 1
        if not self._open:
            self._ended.set()

    async def drained(self) -> None:
        """Wait for the end of both, or for silence."""
        sent = -1
        while not self._ended.is_set() and (self._sending or sent != self._sent):
            sent = self._sent
            with anyio.move_on_after(DRAIN):
                await self._ended.wait()
