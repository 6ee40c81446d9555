"""The lanes of a command's one connection: whoever reads does it for all."""

import anyio
import pytest
from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteStream

from ramure_docker.streams import HEADER, KEPT, Streams

OUT, ERR = 1, 2
HANGS = 20


class Engine(ByteStream):
    """The engine's end: what it says, piece by piece."""

    def __init__(self):
        self._say, self._said = anyio.create_memory_object_stream[bytes](1000)
        self.sent = 0

    def says(self, lane, data):
        self._say.send_nowait(bytes([lane]) + bytes(3) + len(data).to_bytes(4, "big") + data)

    def ends(self):
        self._say.close()

    async def receive(self, max_bytes=65536):
        data = await self._said.receive()
        self.sent += len(data) - HEADER
        return data

    async def send(self, item):
        pass

    async def send_eof(self):
        pass

    async def aclose(self):
        self._said.close()


@pytest.fixture
async def engine():
    async with Engine() as engine:
        yield engine
        engine.ends()


@pytest.fixture
async def streams(engine):
    return Streams(BufferedByteStream(engine), raw=False)


@pytest.fixture
async def waiting(streams):
    """Reads a lane in a task; its ``got`` grows, its ``scope`` may be cancelled."""
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:

            async def reader(lane):
                one = Reader(lane)
                tasks.start_soon(one.read)
                await anyio.wait_all_tasks_blocked()
                return one

            yield reader
            tasks.cancel_scope.cancel()


class Reader:
    def __init__(self, lane):
        self.lane = lane
        self.scope = anyio.CancelScope()
        self.got = []
        self.ended = False

    async def read(self):
        with self.scope:
            async for data in self.lane:
                self.got.append(data)
            self.ended = True


@pytest.mark.parametrize("first", ["stdout", "stderr"])
async def test_each_gets_its_own_whoever_came_first(engine, streams, waiting, first):
    lanes = [streams.stdout, streams.stderr]
    readers = {lane: await waiting(lane) for lane in (lanes if first == "stdout" else lanes[::-1])}
    for number in range(3):
        engine.says(OUT, b"out%d" % number)
        await anyio.wait_all_tasks_blocked()
        assert readers[streams.stdout].got[-1] == b"out%d" % number
        engine.says(ERR, b"err%d" % number)
        await anyio.wait_all_tasks_blocked()
        assert readers[streams.stderr].got[-1] == b"err%d" % number
    engine.ends()
    await anyio.wait_all_tasks_blocked()
    assert all(reader.ended for reader in readers.values())
    assert [len(reader.got) for reader in readers.values()] == [3, 3]


async def test_another_reads_on_where_the_one_that_read_is_cancelled(engine, streams, waiting):
    errors = await waiting(streams.stderr)
    output = await waiting(streams.stdout)
    errors.scope.cancel()
    await anyio.wait_all_tasks_blocked()
    engine.says(OUT, b"more")
    await anyio.wait_all_tasks_blocked()
    assert output.got == [b"more"]


async def test_the_end_is_awaited_beside_readers(engine, streams, waiting):
    await waiting(streams.stderr)
    ended = anyio.Event()

    async def finish():
        await streams.finished()
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finish)
        await waiting(streams.stdout)
        engine.says(OUT, b"word")
        await anyio.wait_all_tasks_blocked()
        assert not ended.is_set()
        engine.ends()
        await ended.wait()


async def test_what_nobody_takes_holds_the_engine_up_and_nothing_is_lost(engine, streams, waiting):
    piece, many = bytes(65536), 3 * KEPT // 65536
    errors = await waiting(streams.stderr)
    for _ in range(many):
        engine.says(OUT, piece)
    engine.says(ERR, b"late")
    engine.ends()
    await anyio.wait_all_tasks_blocked()
    assert KEPT < engine.sent <= KEPT + len(piece)
    assert errors.got == []
    output = await waiting(streams.stdout)
    await anyio.wait_all_tasks_blocked()
    assert sum(map(len, output.got)) == many * len(piece)
    assert errors.got == [b"late"]
    assert errors.ended


async def test_a_lane_that_is_closed_is_not_awaited(engine, streams, waiting):
    await waiting(streams.stderr)
    await streams.stdout.aclose()
    for _ in range(3 * KEPT // 65536):
        engine.says(OUT, bytes(65536))
    engine.says(ERR, b"word")
    errors = await waiting(streams.stderr)
    await anyio.wait_all_tasks_blocked()
    assert streams.stdout.held == 0
    assert errors.lane.held == 0


async def test_all_who_wait_learn_that_it_broke(streams):
    failures = []

    async def read(lane):
        try:
            await lane.receive()
        except BrokenResourceError:
            failures.append(lane)

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, streams.stdout)
            tasks.start_soon(read, streams.stderr)
            await anyio.wait_all_tasks_blocked()
            streams.break_off(OSError("gone"))
    assert set(failures) == {streams.stdout, streams.stderr}
    with pytest.raises((EndOfStream, BrokenResourceError)):
        await streams.stdout.receive()
