"""The contracts over containers: without a relay and through one, with a network and without."""

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport
from ramure_docker import DockerImage
from shared_machines import SharesMachine

WORK = "/work"


class TestPlain(SharesMachine, MachineContract):
    """Every command is an exec of the engine's."""

    other_user = "nobody"
    big = 20_000_000

    async def new(self, make):
        return await make(DockerImage("ramure-test/shell", workdir=WORK))


class TestRelayed(SharesMachine, MachineContract):
    """Everything but terminals and other users goes through the relay."""

    other_user = "nobody"

    async def new(self, make):
        machine = await make(DockerImage("ramure-test/node", workdir=WORK, network="none"))
        await machine.start_relay()
        return machine


class TestOnABridge(SharesMachine, TransportContract):
    own_door = True

    @pytest.fixture
    def transport(self):
        return RelayTransport()

    async def new(self, make):
        machine = await make(DockerImage("ramure-test/node"))
        await machine.start_relay()
        return machine


class TestWithoutANetwork(TestOnABridge):
    async def new(self, make):
        machine = await make(DockerImage("ramure-test/node", network="none"))
        await machine.start_relay()
        return machine
