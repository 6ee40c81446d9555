"""A person's terminal on any machine: a pty there, and frames to wherever the person is.

The frames are those of ``rpc.py``; what is typed keeps to the window of ``intake.py``, and the
terminal's size does not wait behind it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import anyio

from ramure.machine import Machine, Process
from ramure.run.intake import Intake
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
    sizes = _Sizes()
    with Intake(process, frames) as intake:
        async with process, anyio.create_task_group() as tasks:
            shown = anyio.Event()
            tasks.start_soon(_show, process, frames, shown)
            tasks.start_soon(_listen, frames, intake, sizes, tasks.cancel_scope)
            tasks.start_soon(intake.feed)
            tasks.start_soon(sizes.follow, process)
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


async def _listen(
    frames: Frames, intake: Intake, sizes: _Sizes, terminal: anyio.CancelScope
) -> None:
    """What the person does; once they have gone, the terminal ends."""
    while (frame := await frames.receive()) is not None:
        if "resize" in frame:
            sizes.take(frame["resize"])
        elif not intake.take(frame):
            break  # nobody who keeps to the window comes here
    terminal.cancel()


class _Sizes:
    """The sizes that the person's window takes, of which only the last one matters."""

    def __init__(self) -> None:
        self._last: PtySize | None = None
        self._changed = anyio.Event()

    def take(self, size: Any) -> None:
        """Note a size; one that means nothing is left out."""
        with suppress(TypeError, ValueError, OverflowError):
            self._last = pty_size(*size)
            self._changed.set()

    async def follow(self, process: Process) -> None:
        """Give the terminal each size that is still the last one when it is its turn."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await process.resize(cast("PtySize", self._last))
