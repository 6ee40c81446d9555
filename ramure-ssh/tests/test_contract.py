"""The contracts of machines and transports, on a real server, with and without the relay."""

import os

import pytest

from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.relay import RelayTransport
from ramure_ssh.transport import SSHTransport
from shared_machines import SharesMachine


class TestPlain(SharesMachine, MachineContract):
    """Nothing but SSH sessions."""

    other_user = "nobody" if os.getuid() == 0 else None

    async def new(self, make):
        return await make(relay=False)


class TestRelayed(SharesMachine, MachineContract):
    """The relay on the host."""

    other_user = "nobody" if os.getuid() == 0 else None

    async def new(self, make):
        return await make(relay=True)


class TestForward(SharesMachine, TransportContract):
    """A unix socket that the server forwards."""

    own_door = True

    @pytest.fixture
    def transport(self):
        return SSHTransport()

    async def new(self, make):
        return await make(relay=False)


class TestRelayTransport(SharesMachine, TransportContract):
    """The relay's own."""

    own_door = True

    @pytest.fixture
    def transport(self):
        return RelayTransport()

    async def new(self, make):
        return await make(relay=True)
