"""The way out of a sandbox keeps the contract of transports."""

import pytest

from ramure.testing.transports import TransportContract
from ramure_bubblewrap.transport import BubblewrapTransport


class TestContract(TransportContract):
    own_door = True
    python = "/usr/bin/python3"

    @pytest.fixture
    def transport(self):
        return BubblewrapTransport()

    @pytest.fixture
    async def machine(self, make):
        return await make()
