"""The doors of a run: who gets in, who does not, and what floods cost."""

import json
import os
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure.run.channel import Channel, Limits
from ramure.run.lines import LineReader, Overlong
from ramure.run.listen import Listener
from ramure.run.protocol import Call, Deliver, Result
from ramure.run.salvage import Remains, remains
from ramure.testing.bridge import BridgeClient

HANGS = 60
"""Seconds after which a test has hung."""


class Desk:
    """A listener and the channels of its agents, which answer every call."""

    def __init__(self, path, limits):
        self.path = path
        self.address = f"unix:{path}"
        self.listener = Listener("run7", limits)
        self.heard = []
        self.links = []

    def agent(self, name, token):
        def hear(message):
            self.heard.append(message)
            if isinstance(message, Call):
                channel.send(Result(call=message.call, ok=True, text=name))

        channel = Channel(
            run="run7",
            agent=name,
            token=token,
            lease=5.0,
            on_message=hear,
            on_link=self.links.append,
            limits=self.listener.limits,
        )
        self.listener.register(channel)
        return channel

    def bridge(self, name="w", token="secret"):
        return BridgeClient(self.address, agent=name, token=token)


@asynccontextmanager
async def opened(tmp_path, **limits):
    desk = Desk(tmp_path / "s", Limits(**limits))
    await desk.listener.open_unix(desk.path)
    try:
        yield desk
    finally:
        await desk.listener.aclose()


@pytest.fixture
async def desk(tmp_path):
    async with opened(tmp_path) as desk:
        yield desk


class Peer:
    """A program at the socket that is no bridge of ours."""

    def __init__(self, stream):
        self.stream = stream
        self.reader = BufferedByteReceiveStream(stream)

    async def say(self, **message):
        await self.stream.send(json.dumps(message).encode() + b"\n")

    async def hear(self):
        with anyio.fail_after(HANGS):
            return json.loads(await self.reader.receive_until(b"\n", 100_000))

    async def hello(self, **changes):
        hello = {"t": "hello", "v": 1, "agent": "w", "token": "secret", "session": "s"}
        await self.say(**hello | changes)
        return await self.hear()

    async def closed(self):
        """What else comes until the end; the end has to come."""
        rest = b""
        with anyio.fail_after(HANGS):
            while True:
                try:
                    rest += await self.reader.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return rest


@asynccontextmanager
async def peer(desk):
    async with await anyio.connect_unix(desk.path) as stream:
        yield Peer(stream)


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.005)


# --- who gets in


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_the_socket_is_its_owners_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        async with opened(tmp_path) as desk:
            assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert not desk.path.exists()


async def test_what_a_dead_run_left_is_replaced(tmp_path):
    async with opened(tmp_path) as first:
        first.listener._paths.clear()  # killed: nothing was removed
    async with opened(tmp_path) as desk:
        desk.agent("w", "secret")
        async with desk.bridge() as bridge:
            assert (await bridge.call("x")).ok


async def test_only_the_agents_own_token_gets_in(desk):
    desk.agent("w", "secret")
    desk.agent("v", "another")
    for changes in ({"token": "guess"}, {"token": ""}, {"agent": "v"}, {"token": "another"}):
        async with peer(desk) as stranger:
            answer = await stranger.hello(**changes)
            assert (answer["t"], answer["code"]) == ("refused", "token")
            assert not answer.get("retry")
            assert await stranger.closed() == b""
    async with peer(desk) as agent:
        assert (await agent.hello())["t"] == "welcome"
    assert desk.heard == []


async def test_a_stale_agent_of_an_old_run_is_told_to_end(desk):
    """It finds another run at its address, or its own incarnation replaced."""
    old = desk.agent("w", "old")
    desk.listener.unregister(old)
    desk.listener.unregister(old)
    desk.agent("w", "new")
    async with desk.bridge(token="old") as stale:
        assert "run7 knows no such agent" in await stale.wait_ended()


async def test_a_name_in_a_hello_leads_nowhere(desk):
    desk.agent("w", "secret")
    async with peer(desk) as stranger:
        assert (await stranger.hello(agent="../../w"))["code"] == "token"


async def test_another_version_is_refused_in_words(desk):
    desk.agent("w", "secret")
    async with peer(desk) as future:
        answer = await future.hello(v=99)
    assert answer["code"] == "version"
    assert "99" in answer["reason"]


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b'{"t":"ping"}\n',
        b'{"t":"call","n":1,"call":"c","tool":"finish"}\n',
        b'{"t":"hello","v":1}\n',
        b'{"t":"hello","v":1,"agent":"w","token":"secret","session":7}\n',
        b"[" * 60_000 + b"\n",
        b"\xff\xfe\n",
        b"{}\n",
    ],
)
async def test_nothing_is_answered_before_the_proof(desk, line):
    desk.agent("w", "secret")
    async with peer(desk) as stranger:
        await stranger.stream.send(line)
        answer = await stranger.hear()
        assert (answer["t"], answer["code"]) == ("refused", "malformed")
        assert await stranger.closed() == b""
    assert desk.heard == []


async def test_what_follows_a_refused_hello_is_not_heard(desk):
    desk.agent("w", "secret")
    async with peer(desk) as stranger:
        bad = b'{"t":"hello","v":1,"agent":"w","token":"bad","session":"s"}\n'
        good = bad.replace(b"bad", b"secret")
        await stranger.stream.send(bad + good + b'{"t":"call","n":1,"call":"c","tool":"x"}\n')
        assert (await stranger.hear())["code"] == "token"
        assert await stranger.closed() == b""
    assert desk.heard == []


async def test_a_new_connection_of_the_same_bridge_replaces_the_old_at_once(desk):
    """The old one may be half open, and the run the last to know."""
    channel = desk.agent("w", "secret")
    async with peer(desk) as old, peer(desk) as new:
        await old.hello()
        await old.say(t="call", n=1, call="c", tool="x")
        assert (await old.hear())["t"] == "result"
        assert (await new.hello(got=1))["got"] == 1
        await new.say(t="event", n=2, type="e")
        rest = await old.closed()
        assert b"refused" not in rest  # it is the same bridge, and must not end
        await until(lambda: len(desk.heard) == 2)
        assert channel.connected
    assert desk.links[:1] == [True]
    await until(lambda: desk.links == [True, False])


# --- floods


async def test_a_first_message_without_end_is_cut_off(tmp_path):
    async with opened(tmp_path, hello_timeout=HANGS) as desk, peer(desk) as flood:
        with anyio.fail_after(HANGS / 2), suppress(anyio.BrokenResourceError):
            for _ in range(1000):
                await flood.stream.send(b"x" * 65536)
            await flood.closed()


async def test_a_silent_connection_is_closed(tmp_path):
    async with opened(tmp_path, hello_timeout=0.1) as desk, peer(desk) as silent:
        answer = await silent.hear()
        assert (answer["code"], answer["retry"]) == ("limit", True)
        assert await silent.closed() == b""


async def test_silent_connections_keep_no_agent_out(tmp_path):
    async with opened(tmp_path, max_unproven=5) as desk:
        desk.agent("w", "secret")
        silent = [await anyio.connect_unix(desk.path) for _ in range(20)]
        await until(lambda: len(desk.listener._connections) == 5)
        async with desk.bridge() as bridge:
            assert (await bridge.call("x")).ok
        first = Peer(silent[0])
        answer = await first.hear()
        assert (answer["code"], answer["retry"]) == ("limit", True)
        for stream in silent:
            await stream.aclose()


async def test_an_agents_time_to_prove_itself_ends_with_the_proof(tmp_path):
    async with opened(tmp_path, hello_timeout=0.05) as desk:
        desk.agent("w", "secret")
        async with desk.bridge() as bridge:
            await bridge.wait_connected()
            await anyio.sleep(0.2)
            assert bridge.welcomes == 1


async def test_a_thousand_bridges(desk):
    """Each from a loop of its own process would be the truth; here all share one with the run."""
    count = 1000
    for number in range(count):
        desk.agent(f"w{number}", f"token{number}")
    answers = []

    async def work(number):
        async with desk.bridge(f"w{number}", f"token{number}") as bridge:
            answers.extend([(number, (await bridge.call("x")).text) for _ in range(3)])

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(work, number)
    assert sorted(answers) == sorted((n, f"w{n}") for n in range(count) for _ in range(3))
    await until(lambda: not desk.listener._connections)
    assert not desk.listener._unproven


# --- the end


async def test_closing_refuses_and_ends_every_connection(tmp_path):
    async with opened(tmp_path) as desk:
        desk.agent("w", "secret")
        desk.agent("v", "other")
        async with desk.bridge() as bridge, peer(desk) as unproven, peer(desk) as deaf:
            await bridge.wait_connected()
            await deaf.hello(agent="v", token="other")
            with anyio.fail_after(HANGS):
                await desk.listener.aclose()
                await desk.listener.aclose()
            assert "run run7 has ended" in await bridge.wait_ended()
            assert (await unproven.hear())["code"] == "ended"
            with pytest.raises(OSError):
                await anyio.connect_unix(desk.path)
    assert not desk.listener._connections


async def test_closing_does_not_wait_for_whoever_does_not_read(desk):
    channel = desk.agent("w", "secret")
    async with peer(desk) as deaf:
        await deaf.hello()
        for number in range(100):
            channel.send(Deliver(id=str(number), text="x" * 100_000))
        with anyio.fail_after(HANGS):
            await desk.listener.aclose()
        assert not desk.listener._connections


# --- WebSocket


@pytest.fixture
async def web(tmp_path):
    async with opened(tmp_path, max_message=200_000, hello_timeout=5.0) as desk:
        host, port = await desk.listener.open_websocket("127.0.0.1", 0)
        desk.address = f"ws://{host}:{port}"
        desk.port = port
        desk.agent("w", "secret")
        yield desk


async def test_no_port_is_open_unless_asked_for(desk):
    ports = {server.sockets[0].family.name for server in desk.listener._servers}
    assert ports == {"AF_UNIX"}


async def test_a_bridge_over_websocket(web):
    async with web.bridge() as bridge:
        assert (await bridge.call("x", {"a": "ö" * 50_000})).text == "w"
    async with web.bridge(token="guess") as stranger:
        await stranger.wait_ended()
    assert stranger.refusal.code == "token"


async def test_a_first_frame_over_its_limit_is_refused(web):
    async with BridgeClient(web.address, agent="w", token="secret", session="s" * 90_000) as bridge:
        with anyio.fail_after(HANGS):
            await bridge.wait_ended()
        assert bridge.refusal.code == "malformed"


async def test_plain_http_is_answered_and_closed(web):
    async with await anyio.connect_tcp("127.0.0.1", web.port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await Peer(stream).closed()
    assert answer.startswith(b"HTTP/1.1 426")


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01" * 50_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9999]
)
async def test_junk_at_the_port_is_cut_off(web, junk):
    async with await anyio.connect_tcp("127.0.0.1", web.port) as stream:
        try:
            await stream.send(junk)
        except anyio.BrokenResourceError:
            return
        await Peer(stream).closed()


async def test_a_frame_over_the_limit_is_answered_and_the_connection_goes_on(web):
    async with web.bridge() as bridge:
        await bridge.wait_connected()
        bridge._numbering.max_message = 10**9
        result = await bridge.call("x", {"a": "y" * 400_000})
        assert not result.ok
        assert "more than 200000 bytes" in result.text
        assert (await bridge.call("next")).ok
        assert bridge.welcomes == 1


async def test_a_frame_far_over_the_limit_ends_the_bridge_at_the_third_time(web):
    async with web.bridge() as bridge:
        await bridge.wait_connected()
        bridge._numbering.max_message = 10**9
        bridge.event("x", "y" * 2_000_000)
        with anyio.fail_after(HANGS):
            assert "refused" in await bridge.wait_ended()
    assert bridge.welcomes == 3
    assert web.heard == []


async def test_a_dead_websocket_is_noticed(tmp_path):
    async with opened(tmp_path, ping_after=0.05, silent_after=0.4) as desk:
        host, port = await desk.listener.open_websocket("127.0.0.1", 0)
        desk.address = f"ws://{host}:{port}"
        channel = desk.agent("w", "secret")
        async with desk.bridge() as bridge:
            await bridge.wait_connected()
            await anyio.sleep(1)
            assert bridge.welcomes == 1  # it answers, so it is alive
            bridge.pause_reading()
            await until(lambda: not channel.connected)


# --- lines and what is left of them


def test_lines_come_out_whole_however_they_are_cut():
    text = b"one\n\ntwo\r\n" + b"x" * 50 + b"\nlast\n"
    for size in range(1, len(text)):
        reader = LineReader(50)
        lines = [
            line for at in range(0, len(text), size) for line in reader.feed(text[at : at + size])
        ]
        assert lines == [b"one", b"two\r", b"x" * 50, b"last"]


def test_a_line_over_the_limit_is_skipped_with_bounded_memory():
    reader = LineReader(1000)
    lines = []
    for _ in range(1000):
        lines += reader.feed(b"abcdefgh" * 1000)
        assert sum(map(len, reader._pieces)) <= 1000
    lines += reader.feed(b"end\nnext\n")
    assert [type(line) for line in lines] == [Overlong, bytes]
    assert lines[0].size == 8_000_003
    assert lines[0].head.startswith(b"abcdefgh")
    assert lines[0].tail.endswith(b"ghend")
    assert len(lines[0].head) + len(lines[0].tail) <= 8192
    assert lines[1] == b"next"


def overlong(text):
    return Overlong.of(text)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b'{"t":"call","call":"c","tool":"x","arguments":{},"n":5}', Remains(5, "c")),
        (b'{ "n" : 5 , "t":"call", "call":"c", "arguments":"{\\"n\\":9}"}', Remains(5, "c")),
        (b'{"t":"call","call":"c","arguments":{"n":9}}', Remains(0, "c")),
        (b'{"t":"event","call":"c","type":"x","n":6}', Remains(6, "")),
        (b'{"arguments":{"t":"call","call":"c","n":1},"n":6}', Remains(6, "")),
        (b'{"t":"call","call":"c","arguments":"\\"n\\":9}', Remains(0, "c")),
        (b'{"t":"call","n":-5}', Remains(0, "")),
        (b'{"a\\"n":5}', Remains(0, "")),
        (b'{"t":"call","n":true}', Remains(0, "")),
        (b"x" * 9999, Remains(0, "")),
        (b"", Remains(0, "")),
    ],
)
def test_what_is_left_of_a_bad_message(line, left):
    assert remains(overlong(line)) == left


def test_salvage_believes_json_over_looks():
    assert remains(b'{"arguments":{"n":9},"t":"call","call":"c","n":"7"}') == Remains(0, "c")


def test_listening_is_cheap_to_import():
    code = "import sys, ramure.run.listen; print('websockets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"
