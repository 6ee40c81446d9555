"""A machine that offers nothing but one way to open processes, and a link that tests can harm."""

import os

import pytest

from far_machines import PlainMachine, cuts
from late_links import LATENCY, Late
from ramure.backends.local import LocalBackend, LocalImage
from ramure.relay import RelayedMachine
from ramure.values import Host
from wrapped import Wrapped

NODE = os.environ.get("RAMURE_TEST_RELAY_NODE", "node")


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
