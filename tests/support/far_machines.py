"""Machines on this computer, as far away as can be: a way to open processes, and a link to harm.

A module that is a plugin, too: ``Plugins.of(far=far_machines)`` has the backend ``far``.
"""

import random
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from ramure import hookimpl
from ramure.backends.local import LocalBackend, LocalImage
from ramure.hookspecs import BackendInfo
from ramure.machine import Backend, Machine
from ramure.relay import RelayedMachine
from ramure.values import Host


class PlainMachine(Machine):
    """Has nothing but ``open_process``.

    Attributes:
        attaches: the relay's attaches, the live one last.
        broken: no attach can be opened.
        user: as whom everything runs.
        wrap: what each attach is wrapped in.
    """

    transports = ()

    def __init__(self, local):
        self.local = local
        self.name, self.ref = local.name, local.ref
        self.workdir, self.state_dir = local.workdir, local.state_dir
        self.user = None
        self.attaches = []
        self.broken = False
        self.wrap = lambda process: process

    async def open_process(self, command, *, cwd=None, env=None, user=None, pty=None):
        user = user or self.user
        if "attach" not in command:
            return await self.local.open_process(command, cwd=cwd, env=env, user=user, pty=pty)
        if self.broken:
            raise OSError("the network is unreachable")
        process = await self.local.open_process(command, cwd=cwd, env=env, user=user, pty=pty)
        self.attaches.append(process)
        return self.wrap(process)

    async def destroy(self):
        await self.local.destroy()

    async def cut(self):
        """Kill the attach that is up."""
        if self.attaches:
            await self.attaches[-1].signal(signal.SIGKILL)

    @asynccontextmanager
    async def outage(self):
        """No link, from the first moment to the last."""
        self.broken = True
        await self.cut()
        try:
            yield
        finally:
            self.broken = False


@asynccontextmanager
async def cuts(machine, every):
    """Cut a relayed machine's link again and again, each time soon after it is mended."""

    async def cutting():
        while True:
            while not machine.relay.link.connected:
                await anyio.sleep(0.005)
            await anyio.sleep(random.uniform(0, 2 * every))
            await machine.plain.cut()
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cutting)
        yield
        tasks.cancel_scope.cancel()


@dataclass(frozen=True)
class FarImage(LocalImage):
    """What they start from."""

    backend = "far"


class FarBackend(Backend):
    """Gives plain machines a relay. ``made``: all so far."""

    name = "far"
    image_type = FarImage
    made = []  # noqa: RUF012 for tests to look at

    def __init__(self):
        self._local = LocalBackend()

    def read_image(self, text):
        return FarImage(self._local.read_image(text).workdir)

    async def provision(self, image, host, *, name, labels, tools=None):
        local = await self._local.provision(image, Host("local"), name=name, labels=labels)
        machine = await RelayedMachine.over(PlainMachine(local))
        self.made.append(machine)
        return machine

    async def attach(self, ref):
        return PlainMachine(await self._local.attach(ref))

    async def find(self, labels, *, host):
        return await self._local.find(labels, host=Host("local"))

    async def destroy(self, ref):
        await self._local.destroy(ref)


@hookimpl
def ramure_register_backends():
    return [BackendInfo("far", "far away", "far_machines:FarBackend", "far_machines:FarImage")]
