"""A machine that offers nothing but one way to open processes, and a link that tests can harm."""

import os
import random
import signal
from contextlib import asynccontextmanager

import anyio
import pytest

from ramure.backends.local import LocalBackend, LocalImage
from ramure.machine import Machine, Process
from ramure.relay import RelayedMachine
from ramure.values import Host

NODE = os.environ.get("RAMURE_TEST_RELAY_NODE", "node")


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


class Wrapped(Process):
    """A process that passes everything on."""

    def __init__(self, process):
        self.process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    async def wait(self):
        return await self.process.wait()

    async def signal(self, number):
        await self.process.signal(number)

    async def kill(self):
        await self.process.kill()

    async def resize(self, size):
        await self.process.resize(size)

    async def aclose(self):
        await self.process.aclose()


@pytest.fixture
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
async def plain(ramure_home, workdir):
    """A plain machine; nothing of it is left after the test."""
    local = await LocalBackend().provision(
        LocalImage(workdir), Host("local"), name="m", labels={"ramure.run": "r"}
    )
    yield PlainMachine(local)
    await local.destroy()
    assert list(ramure_home.glob("runtimes/r/*")) == []


@pytest.fixture
def wrapped():
    return Wrapped


@pytest.fixture
def cutting():
    return cuts


@pytest.fixture
async def relayed(plain):
    """The same through a relay."""
    machine = await RelayedMachine.over(plain, node=NODE, lease=20, heartbeat=0)
    yield machine
    await machine.destroy()
