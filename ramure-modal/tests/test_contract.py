"""The contracts: sandboxes with a relay and without one, and the way from them to the run."""

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport
from ramure_modal.image import ModalImage
from shared_machines import SharesMachine


class TestSandbox(SharesMachine, MachineContract):
    other_user = "nobody"
    big = 25_000_000

    async def new(self, make):
        return await make()


class TestSandboxWithoutRelay(SharesMachine, MachineContract):
    other_user = "nobody"

    big = 20_000_000

    async def new(self, make):
        machine = await make(ModalImage("bare:1", workdir="/work"))
        assert machine.relay is None  # no Node.js in it
        return machine

    async def test_memory_is_bounded(self, machine, folder):
        """The SDK alone reads 64 MiB of a stream ahead: only that all arrives is to be seen."""
        (folder / "big").write_bytes(bytes(self.big))
        await machine.upload(folder, "tree")
        await machine.download("tree", folder / "back")
        assert (folder / "back/big").stat().st_size == self.big


class TestTransport(SharesMachine, TransportContract):
    own_door = True

    async def new(self, make):
        return await make()

    @pytest.fixture
    def transport(self):
        return RelayTransport()
