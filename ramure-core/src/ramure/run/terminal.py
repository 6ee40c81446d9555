"""A person's terminal on any machine: a pty there, and frames to wherever the person is."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import anyio

from ramure.machine import Machine, Process
from ramure.run.rpc import Frames
from ramure.values import PtySize

DRAIN = 1.0
"""Seconds that output may still come after the command's end, where a child holds the pty."""

LARGEST = 10_000
"""Columns or rows; what a terminal says beyond that is a mistake."""


def pty_size(columns: int, rows: int) -> PtySize:
    """A size within reason, whatever was asked for."""
    return PtySize(min(max(int(columns), 1), LARGEST), min(max(int(rows), 1), LARGEST))


async def serve_terminal(
    frames: Frames,
    machine: Machine,
    command: Sequence[str],
    *,
    size: PtySize,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run ``command`` in a pty until it ends or the person hangs up, which kills it.

    Raises:
        FileNotFoundError, MachineGone, LinkBroken: as ``Machine.open_process``.
    """
    process = await machine.open_process(list(command), cwd=cwd, env=env, pty=size)
    async with process, anyio.create_task_group() as tasks:
        shown = anyio.Event()
        tasks.start_soon(_show, process, frames, shown)
        tasks.start_soon(_type, process, frames, tasks.cancel_scope)
        code = await process.wait()
        with anyio.move_on_after(DRAIN):
            await shown.wait()
        await frames.send({"exit": code})
        tasks.cancel_scope.cancel()


async def _show(process: Process, frames: Frames, shown: anyio.Event) -> None:
    try:
        async for data in process.stdout:
            await frames.send({"data": base64.b64encode(data).decode()})
    finally:
        shown.set()


async def _type(process: Process, frames: Frames, terminal: anyio.CancelScope) -> None:
    """What the person does; once they have gone, the terminal ends."""
    while (frame := await frames.receive()) is not None:
        try:
            if "data" in frame:
                await process.stdin.send(base64.b64decode(frame["data"]))
            elif "resize" in frame:
                await process.resize(pty_size(*frame["resize"]))
        except (binascii.Error, TypeError, ValueError):
            continue  # a frame that means nothing
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # the command has ended; its exit is on the way
    terminal.cancel()
