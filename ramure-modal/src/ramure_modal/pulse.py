"""Signs of life to sandboxes, from a thread: a program whose loop is blocked is not a dead one.

One thread with a loop of its own serves all sandboxes of a run. It renews their leases, keeps their
relays' daemons when the program's loop is silent, and minds their lifetimes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from threading import Thread
from typing import TYPE_CHECKING

import anyio

from ramure._work import in_thread
from ramure.backends._marks import kill_command
from ramure_modal.errors import transient
from ramure_modal.sandbox import say
from ramure_modal.sdk import call

if TYPE_CHECKING:
    from concurrent.futures import Future

    import modal

    from ramure_modal.machine import ModalMachine

log = logging.getLogger("ramure")

BEATS = 8
"""Signs of life in one lease."""

LONGEST = 10.0
"""Seconds between two of them at most."""

RENEW = 'echo "$2" >"$1"'

WARNING, SNAPSHOT = 0.1, 0.05
"""Parts of a lifetime before its end at which a person is warned, and a snapshot taken,"""

EARLIEST = 600.0
"""but these seconds before it at most."""


class Pulse:
    """The thread, and what it does for each sandbox.

    It is a daemon: a program that ends without ``aclose`` does not wait for it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._kept: dict[str, Future[None]] = {}

    async def keep(self, machine: ModalMachine) -> None:
        """From now on, until ``drop``, the sandbox is told that its program lives."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(
                target=_serve, args=(self._loop,), name="ramure-modal", daemon=True
            )
            self._thread.start()
        beat = _Beat(machine, asyncio.get_running_loop())
        self._kept[machine.name] = asyncio.run_coroutine_threadsafe(beat.run(), self._loop)

    def drop(self, machine: ModalMachine) -> None:
        """No longer."""
        if future := self._kept.pop(machine.name, None):
            future.cancel()

    async def aclose(self) -> None:
        """End the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await in_thread(self._thread.join, pool="pulse")
            self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end what still goes on in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


class _Beat:
    """What goes on for one sandbox. Runs in the thread's loop."""

    def __init__(self, machine: ModalMachine, loop: asyncio.AbstractEventLoop) -> None:
        self._machine = machine
        self._loop = loop
        self._seen = time.monotonic()
        self._every = min(LONGEST, machine.image.lease / BEATS)
        end = machine.made + machine.image.timeout
        self._plan: list[tuple[float, Callable[[], object]]] = []
        for part, work in ((WARNING, self._warn), (SNAPSHOT, self._snapshot)):
            before = min(machine.image.timeout * part, EARLIEST * part / WARNING)
            self._plan.append((end - before, work))
        self._end = end

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_plan)
            for number in count():  # one that hangs, as on a dead connection, is not waited for
                tasks.start_soon(self._beat, number, tasks.cancel_scope)
                await anyio.sleep(self._every)

    async def _beat(self, number: int, scope: anyio.CancelScope) -> None:
        if not await self._renew(number):
            scope.cancel()

    async def _renew(self, number: int) -> bool:
        """Tell the watchdog; False where there is none any more."""
        try:
            with anyio.fail_after(self._machine.image.lease):
                renew = ("sh", "-c", RENEW, "ramure", self._machine.lease_file, str(number))
                await say(self._sandbox, *renew)
                await self._kill_what_is_left()
                await self._speak_for_the_loop()
        except Exception as error:  # noqa: BLE001 the next one may do better, unless it is gone
            return transient(error) or isinstance(error, TimeoutError) or await self._runs()
        return True

    @property
    def _sandbox(self) -> modal.Sandbox:
        return self._machine.sandbox

    async def _runs(self) -> bool:
        try:
            code = await call(self._sandbox.poll.aio)
        except Exception:  # noqa: BLE001 an error in asking is no answer
            return True
        if code is not None:
            self._tell(partial(self._machine.ended, code))
        return code is None

    def _tell(self, work: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    async def _kill_what_is_left(self) -> None:
        """End the commands that could not be killed while the sandbox was out of reach."""
        unkilled = self._machine.unkilled
        for mark in list(unkilled):
            await say(self._sandbox, *kill_command(mark))
            unkilled.discard(mark)

    async def _speak_for_the_loop(self) -> None:
        """Where the program's loop is blocked, its relay gets no heartbeats from it."""

        def seen() -> None:
            self._seen = time.monotonic()

        blocked = time.monotonic() - self._seen > 2 * self._every
        self._tell(seen)
        if blocked and self._machine.relay is not None:
            words, data = self._machine.relay.sign_of_life
            process = await call(self._sandbox.exec.aio, *words, text=False)
            process.stdin.write(data)
            process.stdin.write_eof()
            await call(process.stdin.drain.aio)

    # --- its lifetime

    async def _follow_plan(self) -> None:
        for due, work in self._plan:
            await anyio.sleep(max(0.0, due - time.time()))
            result = work()
            if asyncio.iscoroutine(result):
                await result

    def _warn(self) -> None:
        image = self._machine.image
        fate = "will be kept as an image" if image.at_limit == "snapshot" else "go with it"
        log.warning(
            "the Modal sandbox %s ends in %.0f s, at its timeout of %d s: its files %s",
            self._machine.name,
            max(0.0, self._end - time.time()),
            image.timeout,
            fate,
        )

    async def _snapshot(self) -> None:
        if self._machine.image.at_limit != "snapshot":
            return
        try:
            self._machine.last_image = await self._machine.snapshot()
        except Exception:
            log.exception("no snapshot of %s before its end", self._machine.name)
