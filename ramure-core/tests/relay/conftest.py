"""A machine that offers nothing but one way to open processes, and a link that tests can harm."""

import os

import pytest

from far_machines import PlainMachine, cuts
from late_links import LATENCY, Late
from ramure.backends.local import LocalBackend, LocalImage
from ramure.machine import Process
from ramure.relay import RelayedMachine
from ramure.values import Host

NODE = os.environ.get("RAMURE_TEST_RELAY_NODE", "node")


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


@pytest.fixture
async def far(plain):
    """The same over a link on which everything takes ``LATENCY`` seconds each way."""
    plain.wrap = lambda process: Late(process, LATENCY)
    machine = await RelayedMachine.over(plain, node=NODE, lease=20, heartbeat=0)
    yield machine
    await machine.destroy()
