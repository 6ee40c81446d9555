"""The transport contract: what a bridge on the machine can rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure import paths
from ramure.machine import Machine, Process
from ramure.run.channel import Channel
from ramure.run.listen import Listener
from ramure.run.protocol import Activity, Call, Deliver, FromAgent, Result
from ramure.testing._suite import Suite
from ramure.transport import Route, Target, Transport

PROBE = Path(__file__).with_name("_probe.py")


class Visitor:
    """A very simple bridge on a machine: says and hears one message at a time."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._reader = BufferedByteReceiveStream(process.stdout)

    async def say(self, kind: str, **fields: object) -> None:
        await self.process.stdin.send(msgspec.json.encode({"t": kind, **fields}) + b"\n")

    async def hear(self, kind: str) -> Any:
        """The next message of this kind; others are passed over."""
        while True:
            message = msgspec.json.decode(await self._reader.receive_until(b"\n", 100_000_000))
            if message["t"] == kind:
                return message

    async def hello(self, name: str, token: str, *, got: int = 0) -> Any:
        await self.say("hello", v=1, agent=name, token=token, session="s", got=got)
        return await self.hear("welcome")

    async def closed(self) -> None:
        with pytest.raises((anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError)):
            await self.hear("nothing of this kind")


class Desk:
    """A run's end: a listener, and agents that answer every call with what it was about."""

    def __init__(self, target: Target, listener: Listener) -> None:
        self.target = target
        self._listener = listener
        self.heard: list[FromAgent] = []

    def agent(self, name: str) -> Channel:
        def hear(message: FromAgent) -> None:
            self.heard.append(message)
            if isinstance(message, Call):
                channel.send(Result(call=message.call, ok=True, text=str(message.arguments)))

        channel = Channel(run="r", agent=name, token=f"t-{name}", lease=30.0, on_message=hear)
        self._listener.register(channel)
        return channel


class TransportContract(Suite):
    """Subclass it in a test module and give it fixtures ``machine`` and ``transport``.

    Attributes:
        port: the run listens on a WebSocket port, too.
        host: where that port is opened.
        own_door: the route makes something of its own, and is dead once it is closed.
        python: how the machine's Python is called.
        patience: seconds after which something that should have ended hangs.
        big: bytes of what the suite calls big.
    """

    port: ClassVar[bool] = False
    host: ClassVar[str] = "127.0.0.1"
    own_door: ClassVar[bool] = False
    python: ClassVar[str] = "python3"
    patience: ClassVar[float] = 60.0
    big: ClassVar[int] = 5_000_000

    @pytest.fixture
    async def machine(self) -> Machine:
        """A machine of this test's own. To be overridden."""
        raise NotImplementedError("a subclass of TransportContract needs a fixture `machine`")

    @pytest.fixture
    def transport(self) -> Transport:
        """The transport. To be overridden."""
        raise NotImplementedError("a subclass of TransportContract needs a fixture `transport`")

    @pytest.fixture
    async def desk(self, tmp_path: Path) -> AsyncIterator[Desk]:
        """The run that is to be reached."""
        listener = Listener("r")
        socket = paths.socket_path(tmp_path / "agents.sock")
        await listener.open_unix(socket)
        url = None
        if self.port:
            host, port = await listener.open_websocket(self.host, 0)
            url = f"ws://{host}:{port}"
        yield Desk(Target(str(socket), url), listener)
        await listener.aclose()

    @pytest.fixture
    async def route(
        self, transport: Transport, machine: Machine, desk: Desk
    ) -> AsyncIterator[Route]:
        """A way from the machine to the run."""
        route = await transport.open(machine, desk.target)
        yield route
        await route.aclose()
        await transport.aclose()

    @asynccontextmanager
    async def visitor(self, machine: Machine, route: Route) -> AsyncIterator[Visitor]:
        """A bridge on the machine, over a new connection."""
        command = [self.python, "-c", PROBE.read_text(), route.address]
        process = await machine.open_process(command)
        try:
            with anyio.fail_after(self.patience):
                yield Visitor(process)
        finally:
            await process.aclose()

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(self.patience):
            while not condition():  # noqa: ASYNC110 what it waits for tells nobody
                await anyio.sleep(0.01)

    # --- the tests

    async def test_the_address_is_one_that_bridges_dial(self, route: Route) -> None:
        assert route.address.startswith(("unix:/", "ws://", "wss://"))

    async def test_a_call_and_its_result(self, machine: Machine, desk: Desk, route: Route) -> None:
        desk.agent("w")
        async with self.visitor(machine, route) as bridge:
            welcome = await bridge.hello("w", "t-w")
            assert welcome["run"] == "r"
            await bridge.say("call", n=1, call="c", tool="x", arguments="é\u2028🙂")
            assert (await bridge.hear("result"))["text"] == "é\u2028🙂"

    async def test_whoever_has_no_token_is_refused(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        desk.agent("w")
        async with self.visitor(machine, route) as stranger:
            guess = "t-v"
            await stranger.say("hello", v=1, agent="w", token=guess, session="s")
            assert (await stranger.hear("refused"))["code"] == "token"
            await stranger.closed()

    async def test_many_messages_keep_their_order(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        channel = desk.agent("w")
        count = 1000
        async with self.visitor(machine, route) as bridge:
            await bridge.hello("w", "t-w")
            for n in range(1, count + 1):
                channel.send(Deliver(id=str(n), text="x" * (n % 300)))
                await bridge.say("event", n=n, type="e", data=n)
            for n in range(1, count + 1):
                assert (await bridge.hear("message"))["n"] == n
            await self.until(lambda: len(desk.heard) == count)
        assert [m.data for m in desk.heard if isinstance(m, Activity)] == [*range(1, count + 1)]

    async def test_a_big_message_arrives_whole(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        desk.agent("w")
        text = "0123456789" * (self.big // 10)
        async with self.visitor(machine, route) as bridge:
            await bridge.hello("w", "t-w")
            await bridge.say("call", n=1, call="c", tool="x", arguments=text)
            assert (await bridge.hear("result"))["text"] == text

    async def test_several_agents_at_a_time(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        async with AsyncExitStack() as stack:
            bridges = {}
            for name in "abcdefgh":
                desk.agent(name)
                bridges[name] = await stack.enter_async_context(self.visitor(machine, route))
                await bridges[name].hello(name, f"t-{name}")
            for name, bridge in bridges.items():
                await bridge.say("call", n=1, call="c", tool="x", arguments=name)
            for name, bridge in bridges.items():
                assert (await bridge.hear("result"))["text"] == name

    async def test_the_run_learns_that_a_bridge_is_gone(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        channel = desk.agent("w")
        async with self.visitor(machine, route) as bridge:
            await bridge.hello("w", "t-w")
            assert channel.connected
            await bridge.process.kill()
            await self.until(lambda: not channel.connected)

    async def test_a_bridge_learns_that_it_must_end(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        channel = desk.agent("w")
        async with self.visitor(machine, route) as bridge:
            await bridge.hello("w", "t-w")
            channel.close("over")
            assert (await bridge.hear("stop"))["reason"] == "over"
            await bridge.closed()

    async def test_a_second_connection_goes_on_where_the_first_broke(
        self, machine: Machine, desk: Desk, route: Route
    ) -> None:
        channel = desk.agent("w")
        async with self.visitor(machine, route) as first:
            await first.hello("w", "t-w")
            await first.process.kill()
        await self.until(lambda: not channel.connected)
        channel.send(Deliver(id="m", text="kept"))
        async with self.visitor(machine, route) as second:
            await second.hello("w", "t-w")
            assert (await second.hear("message"))["text"] == "kept"

    async def test_a_socket_on_the_machine_is_its_users_alone(
        self, machine: Machine, route: Route
    ) -> None:
        if not route.address.startswith("unix:"):
            return
        code = "import os, sys; print(os.stat(sys.argv[1]).st_mode & 0o077)"
        path = route.address.removeprefix("unix:")
        mode = await machine.exec([self.python, "-c", code, path], check=True)
        assert mode.stdout.strip() == "0"

    async def test_closing_a_route(self, machine: Machine, desk: Desk, route: Route) -> None:
        desk.agent("w")
        with anyio.fail_after(self.patience):
            await route.aclose()
            await route.aclose()
        if self.own_door:
            async with self.visitor(machine, route) as bridge:
                await bridge.closed()
