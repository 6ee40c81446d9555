"""Frames, numbers and streams by themselves: two ends in memory, whose wires tear."""

import asyncio
import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramure.errors import LinkBroken
from ramure.relay import mux, numbering
from ramure.relay.frames import (
    HEADER,
    MAX_PAYLOAD,
    BadFrame,
    Decoder,
    Frame,
    Kind,
    count,
    encode,
    encode_json,
    read_count,
)
from ramure.relay.mux import Mux
from ramure.relay.numbering import Numbering, OutOfStep

FRAMES = st.builds(
    Frame,
    st.sampled_from([*map(int, Kind)]),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
)


@given(st.lists(FRAMES), st.randoms())
def test_frames_come_out_as_they_went_in(frames, rng):
    data = b"".join(encode(f.kind, f.channel, f.lane, f.payload) for f in frames)
    decoder, got = Decoder(), []
    while data:
        size = rng.randint(1, 50)
        got += decoder.feed(data[:size])
        data = data[size:]
    assert got == frames


def test_a_frame_that_is_too_large():
    with pytest.raises(BadFrame):
        list(Decoder().feed(HEADER.pack(MAX_PAYLOAD + 1, Kind.DATA, 0, 1)))


def test_counts_are_large():
    assert read_count(count(2**48 - 1)) == 2**48 - 1


# --- two ends


class Peer(Mux):
    """The other side: takes whatever is opened."""

    def _accept(self, frame):
        self.accepted(self._add(frame.channel))


class Side:
    """One end of a link, without a link."""

    def __init__(self, kind):
        self.numbering = Numbering()
        self.decoder = Decoder()
        self.error = None
        self.connected = False
        self.most = 0
        self.mux = kind(self, lambda *_: None)

    def bind(self, receive, changed):
        self.receive, self.changed = receive, changed

    @property
    def full(self):
        return self.numbering.full

    def send(self, frame):
        self.numbering.send(frame)
        self.most = max(self.most, self.numbering._kept_bytes)

    def connect(self, other):
        self.decoder = Decoder()
        self.numbering.resume(other.numbering.got)
        self.connected = True
        self.changed()

    def take(self, data):
        for frame in self.decoder.feed(data):
            if frame.kind == Kind.ACK:
                self.numbering.acknowledge(read_count(frame.payload))
                self.changed()
            else:
                self.numbering.arrived(len(frame.payload))
                self.receive(frame)


class Wires:
    """Carries bytes between two ends, a few at a time, and loses those on their way when torn."""

    def __init__(self, one, two, rng):
        self.ends, self.rng = {one: two, two: one}, rng
        self.cuts = 0
        self.connect()

    def connect(self):
        self.flying = dict.fromkeys(self.ends, b"")
        for end, other in self.ends.items():
            end.connect(other)

    def step(self):
        if self.rng.random() < 0.01:
            self.cuts += 1
            for end in self.ends:
                end.numbering.suspend()
            self.connect()
        for end, other in self.ends.items():
            if end.numbering.pending or (end.numbering.owed and self.rng.random() < 0.3):
                self.flying[end] += end.numbering.batch()
            size = self.rng.randint(0, 700)
            other.take(self.flying[end][:size])
            self.flying[end] = self.flying[end][size:]


async def sends(lane, data, rng):
    while data:
        size = rng.randint(1, 3000)
        await lane.send(data[:size])
        data = data[size:]
        if rng.random() < 0.2:
            await asyncio.sleep(0)
    await lane.aclose()


async def receives(lane, rng):
    data = b""
    async with lane:
        while True:
            try:
                data += await lane.receive(rng.randint(1, 2000))
            except anyio.EndOfStream:
                return data
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)


async def converse(rng):
    program, machine = Side(Mux), Side(Peer)
    results = []

    async def both(channel, out, into):
        data = rng.randbytes(rng.randint(0, 30_000))
        lanes = channel.outgoing(out), channel.incoming(into)
        got, _ = await asyncio.gather(receives(lanes[1], rng), sends(lanes[0], data, rng))
        results.append((channel.id, out, data, got))

    async with anyio.create_task_group() as tasks:

        def accepted(channel):
            for lane in (0, 1):
                channel.incoming(lane), channel.outgoing(lane + 2)
                tasks.start_soon(both, channel, lane + 2, lane)

        machine.mux.accepted = accepted
        for _ in range(3):
            channel = program.mux.open(kind="test")
            for lane in (0, 1):
                channel.incoming(lane + 2)
                tasks.start_soon(both, channel, lane, lane + 2)
        wires = Wires(program, machine, rng)
        while len(results) < 12:
            wires.step()
            await asyncio.sleep(0)
    for number, lane, data, _ in results:
        other = lane + 2 if lane < 2 else lane - 2
        [got] = [got for id_, out, _, got in results if (id_, out) == (number, other)]
        assert got == data
    return max(program.most, machine.most), wires.cuts


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_nothing_is_lost_doubled_or_reordered(seed):
    before = mux.WINDOW, mux.CHUNK, numbering.KEPT, numbering.BATCH
    mux.WINDOW, mux.CHUNK, numbering.KEPT, numbering.BATCH = 4096, 700, 6000, 3000
    try:
        most, _ = asyncio.run(asyncio.wait_for(converse(random.Random(seed)), 30))
    finally:
        mux.WINDOW, mux.CHUNK, numbering.KEPT, numbering.BATCH = before
    # What is kept is bounded; what is small (ends, credit) goes on top of it.
    assert most < 6000 + 700 + 2000


async def test_what_was_never_sent_cannot_have_arrived():
    state = Numbering()
    with pytest.raises(OutOfStep):
        state.acknowledge(1)
    with pytest.raises(OutOfStep):
        state.resume(1)
    state.send(b"frame")
    state.resume(1)
    with pytest.raises(OutOfStep):
        state.resume(0)  # it had been there before


# --- what a machine must not do


async def opened():
    side = Side(Mux)
    channel = side.mux.open(kind="process")
    return side, channel


async def test_more_than_there_is_credit_for():
    side, channel = await opened()
    channel.incoming(1)
    for _ in range(mux.WINDOW // 65536):
        side.receive(Frame(Kind.DATA, 1, channel.id, b"x" * 65536))
    with pytest.raises(BadFrame, match="credit"):
        side.receive(Frame(Kind.DATA, 1, channel.id, b"x"))


@pytest.mark.parametrize(
    "frame",
    [
        encode_json(Kind.OPEN, 1, {"door": 1}),
        encode_json(Kind.OPEN, 3, {"door": 1}),
        encode_json(Kind.OPEN, 2, {"door": "x"}),
        encode_json(Kind.MESSAGE, 1, {"exit": "x"}),
        encode(Kind.MESSAGE, 1, 0, b"\xff"),
    ],
)
async def test_nonsense(frame):
    side, _ = await opened()
    with pytest.raises((BadFrame, ValueError)):
        side.take(frame)


async def test_what_nobody_asked_for_is_passed_over():
    side, channel = await opened()
    for kind in (Kind.DATA, Kind.END, Kind.STOP, Kind.CREDIT, Kind.CLOSE, 99):
        side.receive(Frame(kind, 9, channel.id + 2, b"x"))
        side.receive(Frame(kind, 9, channel.id, b"x"))


async def test_a_request_that_is_too_large():
    side = Side(Mux)
    with pytest.raises(OSError, match="too long"):
        side.mux.open(command=["x" * MAX_PAYLOAD])
    side.error = LinkBroken("gone", outcome_unknown=True)
    with pytest.raises(LinkBroken) as caught:
        side.mux.open(command=["true"])
    assert not caught.value.outcome_unknown


async def test_a_reader_that_leaves_stops_the_writer():
    side, channel = await opened()
    lane = channel.outgoing(0)
    side.receive(Frame(Kind.STOP, 0, channel.id, b""))
    with pytest.raises(anyio.BrokenResourceError):
        await lane.send(b"x")
    await lane.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await lane.send(b"x")
