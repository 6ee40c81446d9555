"""The contracts over containers: without a relay and through one, with a network and without."""

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport
from ramure_docker import DockerImage

WORK = "/work"


class TestPlain(MachineContract):
    """Every command is an exec of the engine's."""

    other_user = "nobody"
    big = 20_000_000

    @pytest.fixture
    async def machine(self, make):
        return await make(DockerImage("ramure-test/shell", workdir=WORK))


class TestRelayed(MachineContract):
    """Everything but terminals and other users goes through the relay."""

    other_user = "nobody"

    @pytest.fixture
    async def machine(self, make):
        machine = await make(DockerImage("ramure-test/node", workdir=WORK, network="none"))
        await machine.start_relay()
        return machine


class TestOnABridge(TransportContract):
    own_door = True

    @pytest.fixture
    def transport(self):
        return RelayTransport()

    @pytest.fixture
    async def machine(self, make):
        machine = await make(DockerImage("ramure-test/node"))
        await machine.start_relay()
        return machine


class TestWithoutANetwork(TestOnABridge):
    @pytest.fixture
    async def machine(self, make):
        machine = await make(DockerImage("ramure-test/node", network="none"))
        await machine.start_relay()
        return machine
