"""The contracts of machines and transports, on a real server, with and without the relay."""

import os

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport
from ramure_ssh.transport import SSHTransport


class TestPlain(MachineContract):
    """Nothing but SSH sessions."""

    other_user = "nobody" if os.getuid() == 0 else None

    @pytest.fixture
    async def machine(self, plain):
        return plain


class TestRelayed(MachineContract):
    """The relay on the host."""

    other_user = "nobody" if os.getuid() == 0 else None

    @pytest.fixture
    async def machine(self, relayed):
        return relayed


class TestForward(TransportContract):
    """A unix socket that the server forwards."""

    own_door = True

    @pytest.fixture
    def transport(self):
        return SSHTransport()

    @pytest.fixture
    async def machine(self, plain):
        return plain


class TestRelayTransport(TransportContract):
    """The relay's own."""

    own_door = True

    @pytest.fixture
    def transport(self):
        return RelayTransport()

    @pytest.fixture
    async def machine(self, relayed):
        return relayed
