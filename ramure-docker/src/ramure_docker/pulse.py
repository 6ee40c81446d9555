"""Signs of life to containers of engines elsewhere, from a thread.

The end of a computer, or of a network, closes no connection: there, only what is said counts. And a
program whose loop is blocked is not a dead one, so that it is not its loop that says it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

import anyio
from anyio import BrokenResourceError, ClosedResourceError

from ramure._work import in_thread
from ramure.errors import MachineError, MachineGone
from ramure_docker.address import Address
from ramure_docker.container import Container
from ramure_docker.engine import Engine
from ramure_docker.lease import RETRY, looks
from ramure_docker.process import script

if TYPE_CHECKING:
    from ramure_docker.machine import DockerMachine

SILENT = 2
"""Signs of life for which a loop may be silent until the thread speaks for its relay, too."""

TROUBLE = (MachineError, OSError, BrokenResourceError, ClosedResourceError, TimeoutError)


class Pulse:
    """The thread, with a loop and connections of its own, for all containers of one engine.

    It is a daemon: a program that ends without ``aclose`` does not wait for it.
    """

    def __init__(self, address: Address) -> None:
        self._engine = Engine(address)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def keep(self, machine: DockerMachine) -> Beat:
        """From now on the container is told that its program lives, until the result is closed."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(
                target=_serve, args=(self._loop,), name="ramure-docker", daemon=True
            )
            self._thread.start()
        return Beat(self._engine, machine, self._loop)

    async def aclose(self) -> None:
        """End the thread."""
        if self._loop is not None and self._thread is not None:
            await _in(self._loop, self._let_go())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await in_thread(self._thread.join, pool="docker-pulse")
            self._loop = None

    async def _let_go(self) -> None:
        await self._engine.aclose()
        await asyncio.sleep(0)  # in which what was closed lets go of its sockets


async def _in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in the thread's loop."""
    await asyncio.wait([asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))])


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end what still goes on in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


class Beat:
    """What goes on for one container, until ``aclose``."""

    def __init__(
        self, engine: Engine, machine: DockerMachine, thread: asyncio.AbstractEventLoop
    ) -> None:
        """Called in the program's loop; ``thread`` is the other one, in which all else runs."""
        self._machine, self._thread = machine, thread
        self._loop = asyncio.get_running_loop()
        self._container = Container(engine, machine.container.id, machine.name)
        self._command = script("beat.sh", machine.state_dir)
        self._every = float(looks(machine.lease)[0])
        self._seen = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._begun = Future[None]()
        asyncio.run_coroutine_threadsafe(self._begin(), thread)

    async def begun(self) -> None:
        """Wait for the first sign of life, a lease at most."""
        begun = asyncio.wrap_future(self._begun)
        await asyncio.wait([begun], timeout=self._machine.lease)

    async def aclose(self) -> None:
        """No longer. The container ends by itself a lease later, if nobody removes it before."""
        if not self._thread.is_closed():
            await _in(self._thread, self._end())

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"pulse of {self._machine.name}")

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._container.chores.aclose()
        await asyncio.sleep(0)

    async def _run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._again_and_again, self._tell_the_guard)
            tasks.start_soon(self._again_and_again, self._speak_for_the_loop)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until the container is gone; by another command where one has ended."""
        while True:
            try:
                await work()
            except MachineGone:
                if not self._machine.container.is_paused:
                    return
                self._container.fate = None
            except TROUBLE:
                pass
            await anyio.sleep(RETRY)

    async def _tell_the_guard(self) -> None:
        process = await self._container.open(self._command)
        ended = asyncio.create_task(process.wait())
        try:
            while not ended.done():
                with anyio.fail_after(self._machine.lease):
                    await process.stdin.send(b"\n")
                if not self._begun.done():
                    self._begun.set_result(None)
                await asyncio.wait([ended], timeout=self._every)
            ended.result()
        finally:
            ended.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([ended])
                await process.let_go()

    async def _speak_for_the_loop(self) -> None:
        """Where the program's loop is blocked, its relay gets no heartbeats from it."""
        blocked = time.monotonic() - self._seen > SILENT * self._every
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._looped)
        if blocked and self._machine.relay is not None:
            words, data = self._machine.relay.sign_of_life
            process = await self._container.open(words)
            try:
                with anyio.move_on_after(self._machine.lease):
                    await process.stdin.send(data)
                    await process.stdin.aclose()
                    await process.wait()
            finally:
                await process.let_go()
        await anyio.sleep(self._every)

    def _looped(self) -> None:
        """The program's loop goes round; called there."""
        self._seen = time.monotonic()
