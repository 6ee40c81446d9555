"""The control socket, as clients meet it: good ones, clumsy ones and hostile ones."""

import asyncio
import base64
import json
import os
import socket
import stat
import sys

import anyio
import pytest

from ramure.errors import NoSuchAgent
from ramure.run import rpc
from ramure.run.control import MAX_CONNECTIONS, Control
from ramure.run.rpc import Upgrade

PATIENCE = 20


async def echo(text, times=1):
    return text * times


async def refuse():
    raise NoSuchAgent("nobody here", agent="w")


async def blow():
    raise ValueError("kaput")


async def unspeakable():
    raise ValueError("\udc80")


async def refuse_unspeakably():
    raise NoSuchAgent("\udc80")


async def ponder():
    await anyio.sleep(0.2)
    return "hm"


async def opaque():
    return {"what": object()}


class Hanging:
    """A method that never answers, and knows when it was cancelled."""

    def __init__(self):
        self.begun = anyio.Event()
        self.ended = anyio.Event()

    async def __call__(self):
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()


async def shout():
    async def serve(frames):
        while (frame := await frames.receive()) is not None:
            if frame.get("end"):
                await frames.send({"exit": 3})
                return
            if frame.get("boom"):
                raise OSError("the pty is on fire")
            await frames.send({"data": frame["data"].upper()})

    return Upgrade({"ready": True}, serve)


METHODS = {
    "echo": echo,
    "refuse": refuse,
    "blow": blow,
    "unspeakable": unspeakable,
    "refuse_unspeakably": refuse_unspeakably,
    "ponder": ponder,
    "opaque": opaque,
    "shout": shout,
}


class Client:
    """A connection that says what it is told to, byte by byte."""

    def __init__(self, stream):
        self.stream = stream
        self.rest = b""

    async def raw(self, data):
        await self.stream.send(data)

    async def say(self, message):
        await self.raw(json.dumps(message).encode() + b"\n")

    async def hear(self):
        with anyio.fail_after(PATIENCE):
            while b"\n" not in self.rest:
                self.rest += await self.stream.receive(65536)
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    async def ask(self, method, **params):
        await self.say({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return await self.hear()

    async def is_closed(self):
        with anyio.fail_after(PATIENCE):
            try:
                while await self.stream.receive(65536):
                    pass
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True


@pytest.fixture
def path(ramure_home):
    ramure_home.mkdir(mode=0o700)
    return ramure_home / "run.sock"


@pytest.fixture
def hanging():
    return Hanging()


@pytest.fixture
async def server(path, hanging, anyio_backend):
    control = Control()
    await control.open(path, {**METHODS, "hang": hanging})
    try:
        yield control
    finally:
        await control.aclose()


@pytest.fixture
async def client(server, path):
    async with await anyio.connect_unix(path) as stream:
        yield Client(stream)


async def test_a_method_answers_with_its_result(client):
    answer = await client.ask("echo", text="ab", times=2)

    assert answer == {"jsonrpc": "2.0", "id": 1, "result": "abab"}


async def test_errors_say_what_kind_they_are(client):
    assert (await client.ask("refuse"))["error"] == {
        "code": rpc.RAMURE_ERROR,
        "message": "agent 'w': nobody here",
        "data": {"type": "NoSuchAgent"},
    }
    assert (await client.ask("blow"))["error"] == {
        "code": rpc.METHOD_RAISED,
        "message": "ValueError: kaput",
        "data": {"type": "ValueError"},
    }
    assert (await client.ask("unspeakable"))["error"]["code"] == rpc.METHOD_RAISED
    assert (await client.ask("refuse_unspeakably"))["error"]["message"] == "\\udc80"
    assert (await client.ask("opaque"))["error"]["code"] == rpc.METHOD_RAISED
    unknown = (await client.ask("nothing"))["error"]
    assert unknown["code"] == rpc.UNKNOWN_METHOD
    assert "echo" in unknown["message"]
    assert (await client.ask("echo", tone="loud"))["error"]["code"] == rpc.INVALID_PARAMS


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", rpc.PARSE_ERROR),
        (b"{", rpc.PARSE_ERROR),
        (b"\xff\xfe\x00", rpc.PARSE_ERROR),
        (b"[" * 100_000, rpc.INVALID_REQUEST),
        (b'"text"', rpc.INVALID_REQUEST),
        (b"[]", rpc.INVALID_REQUEST),
        (b'{"method": "echo", "id": 1}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "method": 7, "id": 1}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "method": "echo", "params": ["x"], "id": 1}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "method": "echo", "id": {}}', rpc.INVALID_REQUEST),
        (b"x" * (rpc.MAX_LINE + 10), rpc.INVALID_REQUEST),
    ],
)
async def test_a_bad_line_is_answered_and_the_next_one_too(client, line, code):
    await client.raw(line + b"\n")

    assert (await client.hear())["error"]["code"] == code
    assert (await client.ask("echo", text="still here"))["result"] == "still here"


async def test_empty_lines_and_notifications_get_no_answer(client):
    await client.raw(b"\n\r\n  \n")
    await client.say({"jsonrpc": "2.0", "method": "echo", "params": {"text": "quiet"}})
    await client.say({"jsonrpc": "2.0", "method": "nothing"})

    assert (await client.ask("echo", text="loud"))["result"] == "loud"


async def test_a_line_may_come_in_pieces_and_several_at_once(client):
    request = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "echo", "params": {"text": "é"}})
    encoded = request.encode()
    for byte in encoded:
        await client.raw(bytes([byte]))
    await client.raw(b"\n" + encoded + b"\n" + encoded + b"\n")

    assert [(await client.hear())["result"] for _ in range(3)] == ["é"] * 3


async def test_a_slow_method_delays_no_other(client, hanging):
    await client.say({"jsonrpc": "2.0", "id": "slow", "method": "hang"})

    assert (await client.ask("echo", text="fast"))["result"] == "fast"


async def test_a_client_that_goes_away_cancels_what_it_asked_for(server, path, hanging):
    async with await anyio.connect_unix(path) as stream:
        await Client(stream).say({"jsonrpc": "2.0", "id": 1, "method": "hang"})
        with anyio.fail_after(PATIENCE):
            await hanging.begun.wait()

    with anyio.fail_after(PATIENCE):
        await hanging.ended.wait()


async def test_a_client_may_close_its_side_and_still_be_answered(server, path):
    async with await anyio.connect_unix(path) as stream:
        client = Client(stream)
        await client.say({"jsonrpc": "2.0", "id": 1, "method": "ponder"})
        await stream.send_eof()

        assert (await client.hear())["result"] == "hm"


async def test_a_client_that_takes_its_last_bytes_late_hurts_nobody(server, path):
    for size in range(100_000, 400_000, 20_000):  # some stay behind in the server's own buffer
        async with await anyio.connect_unix(path) as stream:
            client = Client(stream)
            await client.say(
                {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"text": "x" * size}}
            )
            await stream.send_eof()
            await anyio.sleep(0.1)
            assert len((await client.hear())["result"]) == size
            assert await client.is_closed()


async def test_what_goes_wrong_on_one_connection_ends_no_other(server, path, monkeypatch):
    async def wrong(connection):
        await connection._close()
        raise ValueError("as nobody foresaw")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
    with monkeypatch.context() as patch:
        patch.setattr(rpc.Connection, "serve", wrong)
        async with await anyio.connect_unix(path):
            with anyio.fail_after(PATIENCE):
                while not told:
                    await anyio.sleep(0.01)
    assert str(told[0]["exception"]) == "as nobody foresaw"
    async with await anyio.connect_unix(path) as stream:
        assert (await Client(stream).ask("echo", text="x"))["result"] == "x"


async def test_an_upgrade_turns_the_connection_into_frames(client):
    assert (await client.ask("shout"))["result"] == {"ready": True}
    await client.say({"data": "hello"})
    assert await client.hear() == {"data": "HELLO"}
    await client.raw(b"no frame at all\n[1]\n")
    await client.say({"data": "again"})
    assert await client.hear() == {"data": "AGAIN"}
    await client.say({"end": True})
    assert await client.hear() == {"exit": 3}
    assert await client.is_closed()


async def test_a_failing_upgrade_tells_and_hurts_nobody_else(server, path, client):
    await client.ask("shout")
    await client.say({"boom": True})
    assert await client.hear() == {"error": "OSError: the pty is on fire"}
    assert await client.is_closed()
    async with await anyio.connect_unix(path) as stream:
        assert (await Client(stream).ask("echo", text="x"))["result"] == "x"


async def test_one_connection_too_many_is_told_so(server, path):
    streams = []
    try:
        for _ in range(MAX_CONNECTIONS):
            streams.append(await anyio.connect_unix(path))
            await Client(streams[-1]).ask("echo", text="x")
        streams.append(await anyio.connect_unix(path))
        last = Client(streams[-1])
        assert (await last.hear())["error"]["code"] == rpc.REFUSED
        assert await last.is_closed()
        await streams.pop(0).aclose()
        with anyio.fail_after(PATIENCE):
            while True:
                async with await anyio.connect_unix(path) as stream:
                    await Client(stream).say({"jsonrpc": "2.0", "id": 1, "method": "nothing"})
                    answer = await Client(stream).hear()
                    if answer["error"]["code"] == rpc.UNKNOWN_METHOD:
                        break
    finally:
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
async def test_only_the_owner_may_open_it_whatever_the_umask(path, umask):
    control = Control()
    before = os.umask(umask)
    try:
        await control.open(path, METHODS)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await control.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can connect before chmod")
async def test_it_is_never_open_to_others_not_even_for_a_moment(path):
    modes = []

    def look(event, arguments):
        if event == "os.chmod" and looking and str(arguments[0]) == str(path):
            modes.append(stat.S_IMODE(path.stat().st_mode))

    looking = True
    sys.addaudithook(look)
    control = Control()
    before = os.umask(0)
    try:
        await control.open(path, METHODS)
    finally:
        os.umask(before)
        looking = False
        await control.aclose()
    assert modes == [0o600]


async def test_closing_ends_connections_and_removes_the_socket(path, hanging):
    control = Control()
    await control.open(path, {"hang": hanging})
    async with await anyio.connect_unix(path) as stream:
        client = Client(stream)
        await client.say({"jsonrpc": "2.0", "id": 1, "method": "hang"})
        await hanging.begun.wait()
        await control.aclose()
        assert hanging.ended.is_set()
        assert await client.is_closed()
    assert not path.exists()
    await control.aclose()


async def test_closing_what_was_never_opened():
    await Control().aclose()


async def test_a_path_too_long_for_a_socket_becomes_a_link(tmp_path, monkeypatch):
    short = tmp_path / "run"
    short.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short) if len(str(short)) < 40 else "")
    deep = tmp_path / ("deep" * 15) / ("folder" * 10)
    deep.mkdir(parents=True)
    wanted = deep / "run.sock"
    control = Control()
    await control.open(wanted, METHODS)
    try:
        assert wanted.is_symlink()
        actual = wanted.readlink()
        assert stat.S_IMODE(actual.stat().st_mode) == 0o600
        assert stat.S_IMODE(actual.parent.stat().st_mode) == 0o700
        async with await anyio.connect_unix(actual) as stream:
            assert (await Client(stream).ask("echo", text="x"))["result"] == "x"
    finally:
        await control.aclose()
    assert not wanted.is_symlink()
    assert not actual.exists()


async def test_a_stale_socket_of_a_dead_run_is_replaced(path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    control = Control()
    await control.open(path, METHODS)
    async with await anyio.connect_unix(path) as stream:
        assert (await Client(stream).ask("echo", text="x"))["result"] == "x"
    await control.aclose()


async def test_a_client_that_does_not_read_blocks_only_itself(server, path, client):
    async with await anyio.connect_unix(path) as stuck:
        request = {"jsonrpc": "2.0", "id": 1, "method": "echo"}
        request["params"] = {"text": "x" * 1000, "times": 5000}
        await Client(stuck).say(request)
        await Client(stuck).say(request)

        assert (await client.ask("echo", text="x"))["result"] == "x"


async def test_frames_wait_for_a_slow_terminal(path):
    async def slow():
        async def serve(frames):
            await anyio.sleep(0.2)
            while (frame := await frames.receive()) is not None:
                await frames.send({"data": frame["data"]})

        return Upgrade(None, serve)

    control = Control()
    await control.open(path, {"slow": slow})
    async with await anyio.connect_unix(path) as stream:
        client = Client(stream)
        await client.ask("slow")
        sent = [base64.b64encode(bytes([n])).decode() for n in range(100)]
        for data in sent:
            await client.say({"data": data})
        assert [(await client.hear())["data"] for _ in sent] == sent
    await control.aclose()
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "ramure control"]
