"""A container as a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from anyio.lowlevel import checkpoint_if_cancelled
from anyio.streams.buffered import BufferedByteStream

from ramure._exec import check_command
from ramure._files import absolute
from ramure.errors import MachineError
from ramure.machine import Command, Machine
from ramure.relay import RelayedMachine
from ramure.values import MachineRef, PtySize
from ramure_docker.address import Address
from ramure_docker.container import Container
from ramure_docker.lease import Lease
from ramure_docker.process import DockerProcess
from ramure_docker.watch import Watch


class PlainMachine(Machine):
    """A container without a relay: every command is an exec of the engine's."""

    transports = ("relay",)

    def __init__(
        self,
        container: Container,
        *,
        workdir: str,
        state_dir: str,
        shell: str,
        tools_dir: str | None = None,
        mounted_tools: Mapping[str, str] | None = None,
    ) -> None:
        self.container = container
        self.name, self.workdir, self.state_dir = container.name, workdir, state_dir
        self.tools_dir, self.mounted_tools = tools_dir, mounted_tools or {}
        self._shell = shell
        data = {"id": container.id, **container.engine.address.as_data()}
        self.ref = MachineRef("docker", container.name, data)

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> DockerProcess:
        """See ``Machine.open_process``. ``user`` is a name or a uid, perhaps with a ``:group``."""
        check_command(command, env)
        await checkpoint_if_cancelled()
        words = [self._shell, "-c", command] if isinstance(command, str) else list(command)
        where = self.workdir if cwd is None else absolute(self, cwd)
        return await self.container.open(words, cwd=where, env=env, user=user, pty=pty)

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        await self.container.remove()


class DockerMachine(RelayedMachine):
    """A container. Through a relay as soon as there is a Node.js for it, else without.

    Attributes:
        container: the container itself.
    """

    def __init__(
        self, plain: PlainMachine, watch: Watch, guard: BufferedByteStream, *, lease: float
    ) -> None:
        """From now on this program keeps the container, and learns what happens to it.

        Args:
            plain: the container.
            watch: tells what happens to it.
            guard: the connection to the container's own program.
            lease: seconds that what is there goes on once the program is out of reach.
        """
        # On the engine's own computer the end of the connection is enough of a sign.
        heartbeat = 0.0 if plain.container.engine.address.here else None
        super().__init__(plain, lease=lease, heartbeat=heartbeat)
        self.container = plain.container
        self._watch = watch
        self._hold = Lease(self.container, guard, self.state_dir, lease)
        self._raising: asyncio.Task[None] | None = None
        watch.add(self.container)

    def raise_relay(self, node: str) -> None:
        """Start the relay on the image's own Node.js; until then, and without, all works."""

        async def start() -> None:
            with suppress(MachineError):
                await self.start_relay(node)

        self._raising = asyncio.create_task(start(), name=f"starting the relay of {self.name}")

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        if self._raising is not None:
            self._raising.cancel()
            await asyncio.wait([self._raising])
        try:
            await super().destroy()
        finally:
            self._watch.remove(self.container)
            await self._hold.aclose()


def address_of(ref: MachineRef) -> Address:
    """The engine that a reference names."""
    return Address.of_data(ref.data)
