"""A machine that offers nothing but one way to open processes, and a link that tests can harm."""

import os
from contextlib import asynccontextmanager

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
    async with _plain(ramure_home, workdir) as machine:
        yield machine


@asynccontextmanager
async def _plain(home, workdir):
    local = await LocalBackend().provision(
        LocalImage(workdir), Host("local"), name="m", labels={"ramure.run": "r"}
    )
    yield PlainMachine(local)
    await local.destroy()
    assert list(home.glob("runtimes/r/*")) == []


@pytest.fixture
async def make(plain):
    """Makes a machine through a relay; ``late``: over a link that takes so long each way."""
    async with _making(plain) as make:
        yield make


@pytest.fixture(scope="class")
async def make_for_class(tmp_path_factory):
    """The same for a class of tests."""
    home, workdir = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMURE_HOME", str(home))
        async with _plain(home, workdir) as plain, _making(plain) as make:
            yield make


@asynccontextmanager
async def _making(plain):
    made = []

    async def make(late=0.0):
        if late:
            plain.wrap = lambda process: Late(process, late)
        made.append(await RelayedMachine.over(plain, node=NODE, lease=20, heartbeat=0))
        return made[-1]

    yield make
    for machine in made:
        await machine.destroy()


@pytest.fixture
def wrapped():
    return Wrapped


@pytest.fixture
def cutting():
    return cuts


@pytest.fixture
async def relayed(plain):
    """The same through a relay."""
    async with _making(plain) as make:
        yield await make()


@pytest.fixture
async def far(plain):
    """The same over a link on which everything takes ``LATENCY`` seconds each way."""
    async with _making(plain) as make:
        yield await make(LATENCY)
