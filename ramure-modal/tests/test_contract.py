"""The contracts: sandboxes with a relay and without one, and the way from them to the run."""

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport


class TestSandbox(MachineContract):
    other_user = "nobody"
    big = 25_000_000

    @pytest.fixture
    async def machine(self, relayed):
        return relayed


class TestSandboxWithoutRelay(MachineContract):
    other_user = "nobody"

    big = 20_000_000

    @pytest.fixture
    async def machine(self, plain):
        return plain

    async def test_memory_is_bounded(self, machine, folder):
        """The SDK alone reads 64 MiB of a stream ahead: only that all arrives is to be seen."""
        (folder / "big").write_bytes(bytes(self.big))
        await machine.upload(folder, "tree")
        await machine.download("tree", folder / "back")
        assert (folder / "back/big").stat().st_size == self.big


class TestTransport(TransportContract):
    own_door = True

    @pytest.fixture
    async def machine(self, relayed):
        return relayed

    @pytest.fixture
    def transport(self):
        return RelayTransport()
