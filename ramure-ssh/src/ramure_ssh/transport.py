"""The transport over the SSH connection itself: a unix socket on the host, forwarded to the run.

The server listens in the machine's owner-only folder; there is no TCP port on either side. The
relay does more, where it can run: what is on its way when the connection breaks is not lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import ClassVar

import anyio
import asyncssh

from ramure._work import to_end
from ramure.errors import MachineError
from ramure.machine import Machine
from ramure.relay import RelayedMachine
from ramure.transport import Route, Target, Transport
from ramure_ssh.connection import FIRST_DELAY, LONGEST_DELAY
from ramure_ssh.machine import SSHMachine

LISTENING = 30.0
"""Seconds in which the host has to listen."""


class SSHRoute(Route):
    """A socket on the host; there again whenever the connection is."""

    def __init__(self, machine: SSHMachine, target: str, path: str) -> None:
        self.address = f"unix:{path}"
        self._machine = machine
        self._path, self._target = path, target
        self._listener: asyncssh.SSHListener | None = None
        self._again = anyio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen for the first time.

        Raises:
            MachineError: the host does not forward.
        """
        await self._listen()
        self._task = asyncio.create_task(self._keep(), name=f"forward of {self._machine.name}")

    async def _listen(self) -> None:
        connection = self._machine.connection
        try:
            with anyio.fail_after(LISTENING):
                # What a broken connection has left would be in the way.
                await self._machine.exec(["rm", "-f", self._path], cwd="/", check=True)
                ssh = await connection.reach()
                self._listener = await ssh.forward_remote_path(self._path, self._target)
        except (asyncssh.Error, asyncssh.ChannelListenError, OSError) as error:
            raise MachineError(
                f"{connection.where} does not forward a unix socket to here: {error or 'refused'}; "
                "its sshd_config has to say AllowStreamLocalForwarding yes",
                machine=self._machine.name,
            ) from error

    def _heard(self) -> None:
        self._again.set()

    async def _keep(self) -> None:
        undo = self._machine.connection.on_up(self._heard)
        try:
            while True:
                await self._again.wait()
                await self._come_back()
        finally:
            undo()

    async def _come_back(self) -> None:
        """Listen again, after a growing while where it fails: the agents wait for it."""
        delay = FIRST_DELAY
        while self._machine.connection.usable:
            self._again = anyio.Event()
            with suppress(MachineError, OSError):
                await self._listen()
                return
            with anyio.move_on_after(delay):
                await self._again.wait()
            delay = min(2 * delay, LONGEST_DELAY)

    async def aclose(self) -> None:
        """See ``Route``."""
        if self._task is not None:
            self._task.cancel()
            await to_end(partial(asyncio.wait, [self._task]))
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with suppress(MachineError):  # the machine's removal removes it, too
                await self._machine.exec(["rm", "-f", self._path], cwd="/", timeout=LISTENING)


class SSHTransport(Transport):
    """Reaches the run from SSH hosts, over the connection that is kept to them anyway."""

    name: ClassVar[str] = "ssh"

    def __init__(self) -> None:
        self._count = 0

    async def open(self, machine: Machine, target: Target) -> Route:
        """Have the host listen at a unix socket in the machine's owner-only folder.

        Raises:
            MachineError: it is no machine of an SSH host, or the host does not forward.
        """
        plain = machine.plain if isinstance(machine, RelayedMachine) else machine
        if not isinstance(plain, SSHMachine):
            raise MachineError("it is on no SSH host", machine=machine.name)
        self._count += 1
        route = SSHRoute(plain, target.socket, f"{plain.state_dir}/run-{self._count}")
        await route.open()
        return route
