"""The hold on a container: as long as it lasts, the guard in the container does not end it.

On the engine's own computer the hold is an open connection: the kernel closes it with the program,
however that ends, and a program that is stopped or blocked for a while keeps it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
from anyio.streams.buffered import BufferedByteStream

from ramure.errors import MachineError, MachineGone
from ramure_docker.container import Container
from ramure_docker.dial import BROKEN
from ramure_docker.process import DockerProcess, script

RETRY = 1.0
"""Seconds between two attempts to take hold again."""

LOOKS = 8
"""How often the guard looks for a sign of life within one lease."""


def looks(lease: float) -> tuple[int, int]:
    """Seconds between two looks, and how many of them without a sign are the end."""
    seconds = max(1, round(lease / LOOKS))
    return seconds, max(2, round(lease / seconds))


class Lease:
    """Holds a container until ``aclose``: by the guard's own input, and later by commands.

    Its task is its own: machines outlive the tasks that make them.
    """

    def __init__(
        self, container: Container, guard: BufferedByteStream, folder: str, lease: float
    ) -> None:
        """``guard`` is the connection to the guard, which is closed in the end."""
        self._container = container
        self._guard = guard
        self._command = script("hold.sh", folder, str(looks(lease)[0]))
        self._task = asyncio.create_task(self._hold(), name=f"lease of {container.name}")

    async def _hold(self) -> None:
        try:
            with suppress(*BROKEN):
                while True:
                    await self._guard.receive()
        finally:
            await anyio.aclose_forcefully(self._guard)
        # The engine was restarted, or the network broke.
        while True:
            try:
                await self._hold_again()
            except MachineGone:
                if not self._container.is_paused:
                    return
            except (MachineError, OSError):
                pass
            await anyio.sleep(RETRY)

    async def _hold_again(self) -> None:
        process: DockerProcess | None = None
        try:
            process = await self._container.open(self._command)
            await process.wait()
        finally:
            if process is not None:
                await process.let_go()

    async def begun(self) -> None:
        """It holds from the start."""

    async def aclose(self) -> None:
        """Let go. The container ends by itself a lease later, if nobody removes it before."""
        self._task.cancel()
        await asyncio.wait([self._task])
