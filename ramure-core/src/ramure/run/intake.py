"""What a person sends to a command, on its way there: frames of ``data``, and a window.

Whoever sends has at most ``WINDOW`` frames on their way that the command has not taken yet, and is
told of each that it has::

    → {"data": "aGkK"}       base64
    ← {"taken": 1}           so many of them have been taken by the command

So the run always reads what comes, and learns of a person who leaves although the command reads
nothing.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from ramure.machine import Process
from ramure.run.rpc import Frames

WINDOW = 16
"""Frames that may be on their way to the command at a time."""


class Intake:
    """The way of one command's input."""

    def __init__(self, process: Process, frames: Frames) -> None:
        self._process = process
        self._frames = frames
        self._typed, self._read = anyio.create_memory_object_stream[bytes](WINDOW)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._typed.close()
        self._read.close()

    def take(self, frame: dict[str, Any]) -> bool:
        """Take a frame, without waiting; False where the window is not kept to.

        What means nothing is left out, and so is what comes after the end.
        """
        with suppress(
            *(KeyError, TypeError, binascii.Error, UnicodeError),
            *(anyio.ClosedResourceError, anyio.BrokenResourceError),
        ):
            try:
                self._typed.send_nowait(base64.b64decode(frame["data"], validate=True))
            except anyio.WouldBlock:
                return False
        return True

    def end(self) -> None:
        """Nothing more comes: the command's input ends after what is on its way."""
        self._typed.close()

    async def feed(self) -> None:
        """Give the command what comes, as it takes it."""
        async for data in self._read:
            # Where the command reads no more, it does not matter what comes.
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.send(data)
            await self._frames.send({"taken": 1})
        await self._process.stdin.aclose()
