"""A command on any machine for a person's pipes: no terminal, and its two outputs kept apart.

The frames (see ``rpc.py``, and ``intake.py`` for the first line)::

    → {"data": "aGkK"}, {"eof": true}    what the command reads, base64, and its end
    ← {"data": "…"}, {"errors": "…"}     what it writes to stdout and to stderr
    ← {"exit": 0}                        the last frame; or {"error": "…"}
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import ByteReceiveStream

from ramure.machine import Machine
from ramure.run.intake import Intake
from ramure.run.rpc import Frames

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
    outputs = _Outputs(frames)
    with Intake(process, frames) as intake:
        async with process, anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, frames, intake, tasks.cancel_scope)
            tasks.start_soon(intake.feed)
            tasks.start_soon(outputs.pass_on, process.stdout, "data")
            tasks.start_soon(outputs.pass_on, process.stderr, "errors")
            code = await process.wait()
            await outputs.drained()
            await frames.send({"exit": code})
            tasks.cancel_scope.cancel()


async def _listen(frames: Frames, intake: Intake, whole: anyio.CancelScope) -> None:
    """What the person sends; once they have gone, the command ends."""
    while (frame := await frames.receive()) is not None:
        if frame.get("eof"):
            intake.end()
        elif not intake.take(frame):
            break  # nobody who keeps to the window comes here
    whole.cancel()


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
