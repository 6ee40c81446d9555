"""The session over which a host hears what must not wait: signs of life, whom to kill."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure_ssh.channel import ChannelSession
from ramure_ssh.script import BOOT, call, line

HEARD, CONFIRMED = 1.0, 5.0
"""Seconds in which a host should say that it has heard an order, and then that a tree is killed."""

IDLE = 10.0
"""Seconds between two looks whether there is a machine to be kept alive."""

BROKEN = (BrokenResourceError, ClosedResourceError, EndOfStream)


@dataclass(slots=True)
class _Order:
    """What a host is told until it says that it is done.

    Attributes:
        said: what it says of it; None: nothing, and never will.
    """

    line: str
    heard: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)
    said: str | None = None

    def end(self, said: str | None) -> None:
        self.said = said
        self.heard.set()
        self.done.set()


class Warden:
    """What this side knows; ``serve`` talks with a host for as long as a session lasts.

    Attributes:
        gone: names of machines that the host has removed by itself.
        heard: the host has said something since it was last set to False.
    """

    COMMAND = BOOT

    def __init__(self) -> None:
        self._session: ChannelSession | None = None
        self._machines: dict[str, float] = {}
        self._orders: dict[int, _Order] = {}
        self._numbers = count(1)
        self._owned = anyio.Event()
        self.gone: set[str] = set()
        self.heard = False

    def own(self, machine: str, every: float) -> None:
        """Keep a machine alive, by a sign every so many seconds."""
        self._machines[machine] = every
        self._owned.set()

    @property
    def machines(self) -> list[str]:
        """Those that are kept alive."""
        return list(self._machines)

    @property
    def every(self) -> float:
        """Seconds between two signs of life."""
        return min(list(self._machines.values()), default=IDLE)

    def disown(self, machine: str) -> None:
        """Keep it no more."""
        self._machines.pop(machine, None)
        self.gone.discard(machine)

    async def kill(self, machine: str, mark: str, user: str | None, pid: int | None) -> bool:
        """Have all that carries a mark killed: now, or as soon as the host is in reach.

        Without a process, it may not have begun yet: then it never will. ``user``: whose it is.

        Waits for the host's word, but not for long, and hardly for one that is silent. Gives
        whether there was one.
        """
        number = next(self._numbers)
        order = self._order(number, f"kill {number} {machine} {mark} {pid or '-'} {user or ''}")
        if self._session is not None:
            with anyio.move_on_after(HEARD) as silence:
                await order.heard.wait()
            if not silence.cancelled_caught:
                with anyio.move_on_after(CONFIRMED):
                    await order.done.wait()
        return order.done.is_set()

    async def remove(self, machine: str, mark: str) -> str | None:
        """Have a machine removed, with all that carries its mark; as soon as the host is in reach.

        Gives what kept the host from it, or nothing; None where it is out of reach for good.
        """
        number = next(self._numbers)
        order = self._order(number, f"remove {number} {machine} {mark}")
        try:
            await order.done.wait()
        finally:
            self._orders.pop(number, None)
        return order.said

    def _order(self, number: int, line: str) -> _Order:
        order = self._orders[number] = _Order(line)
        self._say(line)
        return order

    def signal(self, number: int, user: str | None, pid: int) -> None:
        """Have a signal sent to a process group; ``user``: whose it is."""
        self._say(f"signal {number} {pid} {user or ''}")

    def give_up(self) -> None:
        """The host is out of reach for good."""
        for order in self._orders.values():
            order.end(None)
        self._orders.clear()

    async def serve(self, session: ChannelSession) -> None:
        """Talk with the host until the session ends."""
        with suppress(BrokenResourceError):  # it may have ended already: nothing will be heard
            session.write(line(call("serve")))
        self._session = session
        for order in self._orders.values():
            self._say(order.line)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks: TaskGroup = tasks
                tasks.start_soon(self._beat)
                await self._listen(BufferedByteReceiveStream(session.stdout))
                tasks.cancel_scope.cancel()
        finally:
            self._session = None
            session.close()

    def _say(self, line: str) -> None:
        with suppress(BrokenResourceError):
            if self._session is not None:
                self._session.write(f"{line}\n".encode())

    async def _beat(self) -> None:
        while True:
            for machine in self._machines:
                self._say(f"alive {machine}")
            self._owned = anyio.Event()
            with anyio.move_on_after(self.every):
                await self._owned.wait()

    async def _listen(self, stdout: BufferedByteReceiveStream) -> None:
        with suppress(*BROKEN, anyio.IncompleteRead, anyio.DelimiterNotFound):
            while True:
                said = (await stdout.receive_until(b"\n", 10_000)).decode("ascii", "replace")
                verb, _, what = said.strip().partition(" ")
                self.heard = self.heard or verb == "ready"
                if verb == "gone" and what in self._machines:
                    self.gone.add(what)
                elif verb == "heard" and (order := self._orders.get(int(what))):
                    order.heard.set()
                elif verb == "done":
                    number, _, words = what.partition(" ")
                    if order := self._orders.pop(int(number), None):
                        order.end(words)
