"""A machine that is reached through a relay, and the relay itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from ramure._exec import check_command
from ramure._files import absolute
from ramure._work import to_end
from ramure.errors import RelayUnavailable
from ramure.machine import MAX_OUTPUT, Command, Machine, Process
from ramure.relay.doors import Door, carry
from ramure.relay.frames import Kind, encode
from ramure.relay.install import attach_command, install
from ramure.relay.link import Link
from ramure.relay.mux import Channel, Mux, Opened
from ramure.relay.process import start
from ramure.values import ExecResult, PtySize

LEASE_HERE, LEASE_ELSEWHERE = 10.0, 120.0
"""Seconds the daemon goes on without the program: on the program's own computer, on others."""

HEARTBEAT = 10.0
"""Seconds between two signs of life, where the end of a connection may go unnoticed."""


class Relay:
    """The live way to one daemon: its link, its channels, its doors.

    A machine has no scope of its own: it lives from ``provision`` to ``destroy``, whatever tasks
    call these. So the relay's tasks hang on one that the relay itself owns, from ``open`` to
    ``aclose``.
    """

    def __init__(
        self, machine: Machine, node: str, folder: str, lease: float, heartbeat: float | None
    ) -> None:
        self._machine = machine
        self._node = node
        self._folder = folder
        self._doors: dict[int, Door] = {}
        self._tasks: TaskGroup
        self._task: asyncio.Task[None] | None = None
        self.link = Link(machine.name, self._attach, lease=lease, heartbeat=heartbeat)
        self.mux = Mux(self.link, self._opened)

    async def open(self) -> None:
        """Attach for the first time.

        Raises:
            RelayUnavailable: the daemon did not come up.
        """
        self._task = asyncio.create_task(self._run(), name=f"relay of {self._machine.name}")
        await self.link.ready.wait()
        if error := self.link.error:
            await self.aclose()
            raise RelayUnavailable(f"the relay did not come up: {error}") from error

    async def _run(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            await self.link.run()
            self._tasks.cancel_scope.cancel()

    async def _attach(self, first: bool) -> Process:
        command = attach_command(self._node, self._folder, first=first)
        return await self._machine.open_process(command, cwd="/")

    @property
    def sign_of_life(self) -> tuple[list[str], bytes]:
        """For a backend that can write from a thread: a command, and what to write to its input.

        Once every ``HEARTBEAT`` it keeps the lease, however long the program's loop is blocked.
        """
        return attach_command(self._node, self._folder, first=False), encode(Kind.PING)

    async def aclose(self) -> None:
        """End the daemon with all that it started, and let go. Idempotent; bounded."""
        await to_end(partial(self.link.leave, "it has been destroyed"))
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()):
                raise error

    # --- connections from the machine

    async def open_door(self, target: str) -> Door:
        """Listen on the machine; every connection leads to the socket ``target`` here.

        Raises:
            MachineError: it cannot be done.
        """
        door = Door(self.mux, target)
        self._doors[door.id] = door
        try:
            await door.opened(self._machine.name)
        except BaseException:
            self.close_door(door)
            raise
        return door

    def close_door(self, door: Door) -> None:
        """Listen no more. Idempotent."""
        self._doors.pop(door.id, None)
        door.close()

    def _opened(self, channel: Channel, what: Opened) -> None:
        if door := self._doors.get(what.door):
            channel.incoming(0)
            channel.outgoing(0)
            self._tasks.start_soon(carry, channel, door.target)
        else:
            channel.close()


class RelayedMachine(Machine):
    """A machine whose commands and files go through a relay on it.

    Whatever the relay does not do (terminals, other users) goes to the plain machine.

    Attributes:
        plain: the machine itself.
        relay: the way there.
    """

    def __init__(self, plain: Machine, relay: Relay) -> None:
        self.plain, self.relay = plain, relay
        self.name, self.ref = plain.name, plain.ref
        self.workdir, self.state_dir = plain.workdir, plain.state_dir
        self.here = plain.here
        self.transports = ("relay", *(name for name in plain.transports if name != "relay"))

    @classmethod
    async def over(
        cls,
        plain: Machine,
        *,
        node: str = "node",
        lease: float | None = None,
        heartbeat: float | None = None,
    ) -> RelayedMachine:
        """Start a relay on ``plain``. Whoever calls this destroys the machine where it fails.

        Args:
            plain: a machine that can at least open processes.
            node: the Node.js there, 18 or newer.
            lease: seconds that what was started there goes on once the program is out of reach.
            heartbeat: seconds between two signs of life; 0: only a connection's end counts.

        Raises:
            RelayUnavailable: it cannot run there, and why; the plain machine serves as well.
            MachineError: as ``Machine.exec``.
        """
        if lease is None:
            lease = LEASE_HERE if plain.here else LEASE_ELSEWHERE
        if heartbeat is None:
            heartbeat = 0 if plain.here else HEARTBEAT
        folder = await install(plain, node, lease, heartbeat=bool(heartbeat))
        relay = Relay(plain, node, folder, lease, heartbeat or None)
        try:
            await relay.open()
        except BaseException:
            await to_end(relay.aclose)
            raise
        return cls(plain, relay)

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``."""
        if user is not None or pty is not None:
            return await self.plain.open_process(command, cwd=cwd, env=env, user=user, pty=pty)
        return await self._start(command, cwd, env)

    async def _start(
        self, command: Command, cwd: str | None, env: Mapping[str, str] | None, **limits: Any
    ) -> Process:
        check_command(command, env)
        where = self.workdir if cwd is None else absolute(self, cwd)
        return await start(self.relay.mux, command, cwd=where, env=env, **limits)

    async def exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        input: bytes | str | None = None,  # noqa: A002 the name that subprocess has for it
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        check: bool = False,
        max_output: int = MAX_OUTPUT,
    ) -> ExecResult:
        """See ``Machine.exec``. The daemon keeps the deadline, too, and bounds the output."""
        machine = self.plain if user is not None else _Limited(self, timeout, max_output)
        return await Machine.exec(
            machine,
            command,
            timeout=timeout,
            input=input,
            cwd=cwd,
            env=env,
            user=user,
            check=check,
            max_output=max_output,
        )

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        try:
            await self.relay.aclose()
        finally:
            await self.plain.destroy()


class _Limited(RelayedMachine):
    """The same machine, for one command with a deadline and a bound."""

    def __init__(self, machine: RelayedMachine, timeout: float | None, max_output: int) -> None:
        super().__init__(machine.plain, machine.relay)
        # One byte more than is kept, so that whoever counts knows that there was more.
        self._limits = {"timeout": timeout, "limit": max_output + 1}

    async def _start(
        self, command: Command, cwd: str | None, env: Mapping[str, str] | None, **limits: Any
    ) -> Process:
        return await super()._start(command, cwd, env, **self._limits)
