"""What happens to containers: one stream of events for each engine, followed as long as needed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import anyio
from anyio import EndOfStream, IncompleteRead
from anyio.streams.buffered import BufferedByteStream

from ramure.errors import MachineError
from ramure_docker.container import Container
from ramure_docker.dial import BROKEN
from ramure_docker.engine import Engine

FILTERS = {
    "type": ["container"],
    "label": ["ramure.run"],
    "event": ["kill", "die", "destroy", "oom", "pause", "unpause"],
}
LONGEST = 1_000_000
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0
"""Seconds between two attempts to follow an engine that does not answer."""


class Watch:
    """Tells containers what the engine says of them.

    Its task lives from the first container that is added until ``aclose``: machines have no scope
    of their own, and outlive the task that made them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._containers: dict[str, Container] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, container: Container) -> None:
        """From now on, tell it."""
        self._containers[container.id] = container
        if self._task is None:
            name = f"events of {self._engine.address.url}"
            self._task = asyncio.create_task(self._run(), name=name)

    def remove(self, container: Container) -> None:
        """Tell it no more."""
        self._containers.pop(container.id, None)

    async def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            with suppress(MachineError, *BROKEN, IncompleteRead):
                stream = await self._engine.follow("/events", filters=json.dumps(FILTERS))
                delay = FIRST_DELAY
                try:
                    await self._catch_up()
                    await self._follow(stream)
                finally:
                    await anyio.aclose_forcefully(stream)
            await anyio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _catch_up(self) -> None:
        """Learn what has happened while nobody followed."""
        for container in list(self._containers.values()):
            with suppress(MachineError):
                await container.check()

    async def _follow(self, stream: BufferedByteStream) -> None:
        with suppress(EndOfStream):
            while True:
                event = json.loads(await stream.receive_until(b"\n", LONGEST))
                if container := self._containers.get(event.get("id", "")):
                    about = event.get("Actor", {}).get("Attributes") or {}
                    container.happened(event["status"], about)

    async def aclose(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
