"""Signs of life to sandboxes, from a thread: a program whose loop is blocked is not a dead one.

One thread with a loop of its own serves all sandboxes of a run. It renews their leases, keeps their
relays' daemons when the program's loop is silent, and minds their lifetimes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ramure._work import in_thread
from ramure_modal.errors import transient
from ramure_modal.sandbox import say

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
    """The thread, and what it does for each sandbox."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._thread: AbstractContextManager[BlockingPortal] | None = None
        self._opening = Lock()
        self._kept: dict[str, Future[None]] = {}

    async def keep(self, machine: ModalMachine) -> None:
        """From now on, until ``drop``, the sandbox is told that its program lives."""
        portal = await in_thread(self._open, pool="pulse")
        beat = _Beat(machine, asyncio.get_running_loop())
        self._kept[machine.name] = portal.start_task_soon(beat.run)

    def _open(self) -> BlockingPortal:
        with self._opening:
            if self._portal is None:
                self._thread = start_blocking_portal("asyncio")
                self._portal = self._thread.__enter__()
            return self._portal

    def drop(self, machine: ModalMachine) -> None:
        """No longer."""
        if future := self._kept.pop(machine.name, None):
            future.cancel()

    async def aclose(self) -> None:
        """End the thread."""
        if self._portal is not None:
            await in_thread(self._close, pool="pulse")

    def _close(self) -> None:
        with self._opening:
            portal, thread, self._portal = self._portal, self._thread, None
            if portal is not None and thread is not None:
                portal.call(partial(portal.stop, cancel_remaining=True))
                thread.__exit__(None, None, None)


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
            number = 0
            while await self._renew(number):
                number += 1
                await anyio.sleep(self._every)
            tasks.cancel_scope.cancel()

    async def _renew(self, number: int) -> bool:
        """Tell the watchdog; False where there is none any more."""
        try:
            with anyio.fail_after(self._machine.image.lease):
                renew = ("sh", "-c", RENEW, "ramure", self._machine.lease_file, str(number))
                await say(self._sandbox, *renew)
                await self._speak_for_the_loop()
        except Exception as error:  # noqa: BLE001 the next one may do better, unless it is gone
            return transient(error) or isinstance(error, TimeoutError) or await self._runs()
        return True

    @property
    def _sandbox(self) -> modal.Sandbox:
        return self._machine.sandbox

    async def _runs(self) -> bool:
        try:
            code = await self._sandbox.poll.aio()
        except Exception:  # noqa: BLE001 an error in asking is no answer
            return True
        if code is not None:
            self._tell(partial(self._machine.ended, code))
        return code is None

    def _tell(self, work: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    async def _speak_for_the_loop(self) -> None:
        """Where the program's loop is blocked, its relay gets no heartbeats from it."""

        def seen() -> None:
            self._seen = time.monotonic()

        blocked = time.monotonic() - self._seen > 2 * self._every
        self._tell(seen)
        if blocked and self._machine.relay is not None:
            words, data = self._machine.relay.sign_of_life
            process = await self._sandbox.exec.aio(*words, text=False)
            process.stdin.write(data)
            process.stdin.write_eof()
            await process.stdin.drain.aio()

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
