"""The two transports that come with ramure and need no machinery, against the contract."""

import sys

import pytest

from ramure.backends.local import LocalBackend, LocalImage
from ramure.errors import MachineError
from ramure.testing.transports import TransportContract
from ramure.transport import Target
from ramure.transports.direct import DirectTransport
from ramure.transports.websocket import WebSocketTransport
from ramure.values import Host


@pytest.fixture
async def here(ramure_home, tmp_path):
    machine = await LocalBackend().provision(
        LocalImage(tmp_path), Host("local"), name="m1", labels={"ramure.run": "r"}
    )
    yield machine
    await machine.destroy()


class TestDirect(TransportContract):
    python = sys.executable

    @pytest.fixture
    def machine(self, here):
        return here

    @pytest.fixture
    def transport(self):
        return DirectTransport()

    async def test_another_computer_is_out_of_its_reach(self, machine, transport):
        machine.here = False
        with pytest.raises(MachineError, match=r"machine 'm1': .*another transport"):
            await transport.open(machine, Target("/run/agents.sock"))


class TestWebSocket(TransportContract):
    python = sys.executable
    port = True

    @pytest.fixture
    def machine(self, here):
        return here

    @pytest.fixture
    def transport(self):
        return WebSocketTransport()

    async def test_without_a_port_there_is_no_way(self, machine, transport):
        with pytest.raises(MachineError, match=r"machine 'm1': .*host= or port="):
            await transport.open(machine, Target("/run/agents.sock"))

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("ws://box:9000", "ws://box:9000"),
            ("wss://box/agents", "wss://box/agents"),
            ("http://10.0.0.7:80", "ws://10.0.0.7:80"),
            ("HTTPS://box", "wss://box"),
        ],
    )
    async def test_what_agents_are_told(self, machine, transport, url, address):
        route = await transport.open(machine, Target("/run/agents.sock", url))
        assert route.address == address

    @pytest.mark.parametrize("url", ["box:9000", "ftp://box", "ws://", "://", "/run/agents.sock"])
    async def test_what_is_no_url_is_refused_in_words(self, machine, transport, url):
        with pytest.raises(MachineError, match="has to start with ws://"):
            await transport.open(machine, Target("/run/agents.sock", url))
