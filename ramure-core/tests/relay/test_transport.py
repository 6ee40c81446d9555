"""Connections from the machine to the run, through the relay."""

import sys

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError
from ramure.run.channel import Channel
from ramure.run.listen import Listener
from ramure.run.protocol import Call, Deliver, Result
from ramure.testing.transports import TransportContract
from ramure.transport import Target
from ramure.transports.relay import RelayTransport

HANGS = 60
"""Seconds after which a test has hung."""


class TestRelayTransport(TransportContract):
    own_door = True
    python = sys.executable

    @pytest.fixture
    async def machine(self, relayed):
        return relayed

    @pytest.fixture
    def transport(self):
        return RelayTransport()


class TestRelayTransportWithCuts(TestRelayTransport):
    big = 1_000_000

    @pytest.fixture
    async def machine(self, relayed, cutting):
        async with cutting(relayed, every=0.1):
            yield relayed


class TestRelayTransportFarAway(TestRelayTransport):
    big = 1_000_000

    @pytest.fixture
    async def machine(self, far):
        return far


BRIDGE = """
import asyncio, sys
from ramure.testing.bridge import BridgeClient

async def main(address, count):
    async with BridgeClient(address, agent="w", token="secret") as bridge:
        await bridge.ready()
        for number in range(count):
            answer, message = await asyncio.gather(bridge.call("add", number), bridge.receive())
            assert answer.text == str(number + 1), (answer, number)
            assert message.text == f"m{number}", (message, number)
            await asyncio.sleep(0.01)
        await bridge.bye(f"{bridge.welcomes} connection")

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_a_bridge_notices_nothing_of_cuts(relayed, plain, cutting, tmp_path):
    count, heard, links = 150, [], []

    def hear(message):
        heard.append(message)
        if isinstance(message, Call):
            channel.send(Result(call=message.call, ok=True, text=str(message.arguments + 1)))
            channel.send(Deliver(id=message.call, text=f"m{message.arguments}"))

    channel = Channel(run="r", agent="w", token="secret", lease=30, on_message=hear,
                      on_link=links.append)  # fmt: skip
    listener = Listener("r")
    await listener.open_unix(tmp_path / "s")
    listener.register(channel)
    route = await RelayTransport().open(relayed, Target(str(tmp_path / "s")))
    with anyio.fail_after(HANGS):
        async with cutting(relayed, every=0.05):
            result = await relayed.exec([sys.executable, "-c", BRIDGE, route.address, str(count)])
    await route.aclose()
    await listener.aclose()
    assert result.ok, result.stderr
    assert len(plain.attaches) > 5
    calls = [message.arguments for message in heard if isinstance(message, Call)]
    assert calls == [*range(count)]
    assert heard[-1].reason == "1 connection"
    assert links[0] is True
    assert True not in links[1:]


async def test_a_run_that_is_not_there(relayed, tmp_path):
    route = await RelayTransport().open(relayed, Target(str(tmp_path / "nobody")))
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "print(s.recv(1))"
    )
    path = route.address.removeprefix("unix:")
    result = await relayed.exec([sys.executable, "-c", code, path], timeout=HANGS)
    assert result.stdout == "b''\n"


async def test_a_slow_reader_holds_the_writer_back(relayed, tmp_path):
    """What the run does not read stays on the machine; what it reads later is all there."""
    total = 20_000_000
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        f"s.sendall(b'x' * {total}); s.shutdown(socket.SHUT_WR); print(s.recv(10))"
    )
    async with await anyio.create_unix_listener(tmp_path / "s") as door:
        route = await RelayTransport().open(relayed, Target(str(tmp_path / "s")))
        command = [sys.executable, "-c", code, route.address.removeprefix("unix:")]
        async with await relayed.open_process(command) as process:
            with anyio.fail_after(HANGS):
                stream = await door.accept()
                await anyio.sleep(0.5)
                await relayed.exec("true", check=True)  # others are not held back
                size = 0
                async for data in stream:  # until its half of the connection ends
                    size += len(data)
                await stream.send(b"thanks")
                await stream.aclose()
                assert await process.wait() == 0
                assert await process.stdout.receive() == b"b'thanks'\n"
    assert size == total


async def test_a_long_path_is_made_short(relayed, tmp_path):
    assert len(relayed.state_dir) > 60
    first = await RelayTransport().open(relayed, Target(str(tmp_path / "s")))
    second = await RelayTransport().open(relayed, Target(str(tmp_path / "s")))
    assert first.address != second.address
    assert len(first.address) < 108


async def test_without_a_relay(plain):
    with pytest.raises(MachineError, match="no relay"):
        await RelayTransport().open(plain, Target("/nowhere"))


async def test_out_of_reach(relayed, plain, tmp_path):
    relayed.relay.link.fail(LinkBroken("tested"))
    with pytest.raises(LinkBroken):
        await RelayTransport().open(relayed, Target(str(tmp_path / "s")))
