"""A container as a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from anyio.lowlevel import checkpoint_if_cancelled

from ramure._exec import check_command
from ramure._files import absolute
from ramure.errors import MachineError
from ramure.machine import Command, Machine
from ramure.relay import RelayedMachine
from ramure.relay.machine import HEARTBEAT
from ramure.toolset import Progress, ToolSet, tell
from ramure.values import Host, MachineRef, PtySize
from ramure_docker.address import Address
from ramure_docker.container import Container
from ramure_docker.errors import ImageNotFound
from ramure_docker.image import DockerImage
from ramure_docker.process import DockerProcess
from ramure_docker.snapshot import FORK, snapshot
from ramure_docker.volumes import Volume
from ramure_docker.watch import Watch

FORKING = 3
"""Attempts to make a fork before somebody removes its image."""


class Hold(Protocol):
    """What keeps a container until it is closed."""

    async def begun(self) -> None:
        """Wait until it does."""

    async def aclose(self) -> None:
        """Let go."""


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
    ) -> None:
        self.container = container
        self.name, self.workdir, self.state_dir = container.name, workdir, state_dir
        self.tools_dir = tools_dir
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
        check_command(command, env, cwd)
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
        lease: seconds that it outlives the program where nobody can remove it.
    """

    def __init__(
        self,
        plain: PlainMachine,
        watch: Watch,
        keep: Callable[[DockerMachine], Hold],
        image: DockerImage,
        host: Host,
        sets: Mapping[str, Volume],
    ) -> None:
        """From now on this program keeps the container, and learns what happens to it.

        Args:
            plain: the container.
            watch: tells what happens to it.
            keep: see that the container learns that this program lives, until that is closed.
            image: what it was made of, and how.
            host: where, as it was asked for.
            sets: the tool sets that are mounted, by their names.
        """
        # On the engine's own computer the end of the connection is enough of a sign.
        here = plain.container.engine.address.here
        heartbeat = 0.0 if here else min(HEARTBEAT, image.lease / 4)
        super().__init__(plain, lease=image.lease, heartbeat=heartbeat, beside=here)
        self._image, self._host, self._sets = image, host, sets
        self.container, self.lease = plain.container, image.lease
        self._watch = watch
        self._hold = keep(self)
        self._raising: asyncio.Task[None] | None = None
        watch.add(self.container)

    async def kept(self) -> None:
        """Wait until it is kept by more than its first lease."""
        await self._hold.begun()

    def use(self, name: str) -> bool:
        """Have agents use the tool set of this name; False where it is not mounted."""
        if name not in self._sets:
            return False
        used = {**self.mounted_tools, name: self._sets[name].folder}
        self.mounted_tools = self.plain.mounted_tools = used
        return True

    async def equip(self, tools: ToolSet, progress: Progress = tell) -> None:
        """See ``Machine.equip``. What the image has is used before what is at hand in a volume."""
        if tools.name in {*self._sets} - {*self.mounted_tools} and not await tools.look(self):
            self.use(tools.name)
        await super().equip(tools, progress)

    def raise_relay(self, node: str) -> None:
        """Start the relay on the image's own Node.js; until then, and without, all works."""

        async def start() -> None:
            with suppress(MachineError):
                await self.start_relay(node)

        self._raising = asyncio.create_task(start(), name=f"starting the relay of {self.name}")

    async def snapshot(self, reference: str | None = None) -> DockerImage:
        """The files of the machine, as they are, as an image of the engine's, to start others from.

        What is mounted, and what is in memory, is not part of it; nor is the environment: that is
        given anew. The machine goes on meanwhile. The image stays until somebody removes it.

        Args:
            reference: a name for it, such as ``me/box:tried``; None for none but its id.

        Raises:
            MachineError: as the engine says.
        """
        return await snapshot(self.container, self._image, reference)

    async def fork(self) -> Machine:
        """A new machine of the current process with this one's files.

        ``ramure gc --images`` removes its image when nothing runs on it any more.

        Raises:
            NotInProcess: there is no current process.
            MachineError: as the engine says.
        """
        from ramure import machine

        for _ in range(FORKING):
            image = await snapshot(self.container, self._image, None, label=FORK)
            # Somebody's gc may remove what no container uses yet.
            with suppress(ImageNotFound):
                return await machine(image=image, host=str(self._host))
        raise ImageNotFound("its image is removed again and again", machine=self.name)

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
