"""A machine that is reached through a relay, and the relay itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from ramure._exec import check_command
from ramure._files import absolute, read_unless_large
from ramure._work import in_thread, to_end
from ramure.errors import LinkBroken, MachineGone, MachineStartFailed, RelayUnavailable
from ramure.machine import MAX_OUTPUT, Command, DialsSockets, LocalPath, Machine, Process
from ramure.relay.amounts import LARGE, is_large_here, is_large_there
from ramure.relay.doors import Door, carry
from ramure.relay.frames import Kind, encode
from ramure.relay.install import SOCKET, attach_command, install
from ramure.relay.link import Link
from ramure.relay.mux import Channel, Mux, Opened
from ramure.relay.process import start
from ramure.toolset import Progress, ToolSet, tell
from ramure.values import ExecResult, PtySize

T = TypeVar("T")

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
        self, machine: Machine, folder: str, lease: float, heartbeat: float | None
    ) -> None:
        self._machine = machine
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
        if isinstance(self._machine, DialsSockets):
            with suppress(OSError):  # an attach tells what is the matter
                return await self._machine.dial(f"{self._folder}/{SOCKET}", patient=first)
        command = attach_command(self._folder, first=first)
        return await self._machine.open_process(command, cwd="/")

    @property
    def sign_of_life(self) -> tuple[list[str], bytes]:
        """For a backend that can write from a thread: a command, and what to write to its input.

        Once every ``HEARTBEAT`` it keeps the lease, however long the program's loop is blocked.
        """
        return attach_command(self._folder, first=False), encode(Kind.PING)

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
    """A machine whose commands and files go through a relay on it, once there is one.

    Whatever the relay does not do (terminals, other users), everything before ``start_relay``, and
    large files where that is faster (``beside``) go to the plain machine.

    Attributes:
        plain: the machine itself.
        relay: the way there; None before ``start_relay``.
    """

    def __init__(
        self,
        plain: Machine,
        *,
        lease: float | None = None,
        heartbeat: float | None = None,
        beside: bool = False,
    ) -> None:
        """Begin without a relay.

        Args:
            plain: a machine that can at least open processes.
            lease: seconds that what the relay started goes on once the program is out of reach;
                None: 10 on the program's own computer, 120 elsewhere.
            heartbeat: seconds between two signs of life; 0: only a connection's end counts.
                None: 0 on the program's own computer, 10 elsewhere.
            beside: the plain machine carries large files faster than the relay. What fails there
                is copied once more, through the relay.
        """
        self.plain = plain
        self.relay: Relay | None = None
        self.name, self.ref = plain.name, plain.ref
        self.workdir, self.state_dir = plain.workdir, plain.state_dir
        self.tools_dir, self.mounted_tools = plain.tools_dir, plain.mounted_tools
        self.here, self.transports = plain.here, plain.transports
        self._lease = (LEASE_HERE if plain.here else LEASE_ELSEWHERE) if lease is None else lease
        self._heartbeat = (0 if plain.here else HEARTBEAT) if heartbeat is None else heartbeat
        self._beside = beside
        self._starting = anyio.Lock()
        self._destroyed = False

    @classmethod
    async def over(
        cls,
        plain: Machine,
        *,
        node: str = "node",
        lease: float | None = None,
        heartbeat: float | None = None,
        beside: bool = False,
    ) -> RelayedMachine:
        """A machine with a relay. Whoever calls this destroys ``plain`` where it fails.

        The arguments and errors are those of the class and of ``start_relay``.
        """
        machine = cls(plain, lease=lease, heartbeat=heartbeat, beside=beside)
        await machine.start_relay(node)
        return machine

    async def start_relay(self, node: str = "node") -> None:
        """Start the relay, unless it is there; from then on ``transports`` begins with it.

        Callers at the same time share one.

        Args:
            node: the Node.js on the machine, 18 or newer: a name or a path.

        Raises:
            RelayUnavailable: it cannot run there, and why; the machine serves without it.
            MachineError: as ``Machine.exec``.
        """
        async with self._starting:
            if self.relay is None:
                await self._start_relay(node)

    async def _start_relay(self, node: str) -> None:
        folder = await install(self.plain, node, self._lease, heartbeat=bool(self._heartbeat))
        relay = Relay(self.plain, folder, self._lease, self._heartbeat or None)
        try:
            await relay.open()
            self._check_there()
        except BaseException:
            await to_end(relay.aclose)
            raise
        self.relay = relay
        self.transports = ("relay", *(name for name in self.transports if name != "relay"))

    def _check_there(self) -> None:
        if self._destroyed:
            raise MachineGone("it has been destroyed", machine=self.name)

    async def equip(self, tools: ToolSet, progress: Progress = tell) -> None:
        """See ``Machine.equip``. Then the relay can run: on the set's Node.js, or on its own."""
        await self.plain.equip(tools, progress)
        if self.relay is None:
            folder = self.tool_folder(tools)
            with suppress(RelayUnavailable):  # without another transport, the relay's says so
                await self.start_relay(f"{folder}/{tools.node}" if folder else "node")

    def tool_folder(self, tools: ToolSet) -> str | None:
        """See ``Machine.tool_folder``."""
        return self.plain.tool_folder(tools)

    def _way(self, *, plain: bool = False) -> Machine:
        """The machine that does it: the plain one, or this one as the relay reaches it."""
        return self.plain if plain or self.relay is None else _Reached(self.plain, self.relay)

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
        way = self._way(plain=user is not None or pty is not None)
        return await way.open_process(command, cwd=cwd, env=env, user=user, pty=pty)

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
        return await self._way(plain=user is not None).exec(
            command,
            timeout=timeout,
            input=input,
            cwd=cwd,
            env=env,
            user=user,
            check=check,
            max_output=max_output,
        )

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT) -> bytes:
        """See ``Machine.read_file``."""
        large = self._has_beside and max_bytes > LARGE
        if large:  # perhaps
            data = await read_unless_large(self._way(), path, LARGE, max_bytes)
            if data is not None:
                return data
        return await self._copy(lambda way: way.read_file(path, max_bytes=max_bytes), large)

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """See ``Machine.write_file``."""
        large = self._has_beside and len(data) >= LARGE
        await self._copy(lambda way: way.write_file(path, data, mode=mode), large)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        large = self._has_beside and await in_thread(partial(is_large_here, local), pool="looks")
        await self._copy(lambda way: way.upload(local, remote), large)

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        large = self._has_beside and await is_large_there(self, remote)
        await self._copy(lambda way: way.download(remote, local), large)

    @property
    def _has_beside(self) -> bool:
        """Whether the faster way can be had now."""
        return self._beside and self.relay is not None

    async def _copy(self, copy: Callable[[Machine], Awaitable[T]], large: bool) -> T:
        """Copy a file by the faster way; where that fails, through the relay.

        It mends its own way where that breaks, and takes none of the sessions that a host allows.
        """
        if large:
            try:
                return await copy(self.plain)
            except LinkBroken as error:
                if error.leftover:
                    await self.exec(["rm", "-f", error.leftover], cwd="/")
            except MachineStartFailed:
                pass
        return await copy(self._way())

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        self._destroyed = True
        try:
            if self.relay is not None:
                await self.relay.aclose()
        finally:
            await self.plain.destroy()


class _Reached(Machine):
    """A machine as its relay reaches it; perhaps for one command, with a deadline and a bound."""

    def __init__(self, plain: Machine, relay: Relay, **limits: Any) -> None:
        self.name, self.workdir = plain.name, plain.workdir
        self._plain, self._relay, self._limits = plain, relay, limits

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``; never with a user or a terminal."""
        check_command(command, env, cwd)
        where = self.workdir if cwd is None else absolute(self, cwd)
        return await start(self._relay.mux, command, cwd=where, env=env, **self._limits)

    async def exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        **how: Any,
    ) -> ExecResult:
        """See ``Machine.exec``."""
        # One byte more than is kept, so that whoever counts knows that there was more.
        limits = {"timeout": timeout, "limit": max_output + 1}
        machine = _Reached(self._plain, self._relay, **limits)
        return await Machine.exec(machine, command, timeout=timeout, max_output=max_output, **how)

    async def destroy(self) -> None:
        """Nothing: it is not this object's to end."""
