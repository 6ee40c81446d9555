"""Streams of events: every reader sees everything, in order, whenever it comes."""

import asyncio
import gc
import logging
import time
import tracemalloc
import warnings
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from ramure import events
from ramure.errors import EventTimeout
from ramure.events import MAX_BYTES, MAX_OBJECTS, Event, EventStream
from ramure.run.journal import Journal

HANGS = 30


class Thing:
    """A payload that is no JSON, and whose life can be watched."""

    def __init__(self, number=0):
        self.number = number


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "logs")
    yield journal
    journal.close()


async def numbers(reader):
    return [event.seq async for event in reader]


async def settle():
    """Let other tasks run until they wait."""
    for _ in range(10):
        await checkpoint()


# --- emitting


async def test_an_event_says_what_when_and_whose():
    stream = EventStream(process="p1", agent="w")
    event = stream.emit("x", {"a": 1}, source="child", time=12.5)
    assert event == Event("x", {"a": 1}, "child", 12.5, 1, "p1", "w")
    assert stream.emit("y").seq == 2
    assert stream.last.type == "y"
    assert len(stream) == 2


async def test_time_is_unix_time_unless_told():
    before = time.time()
    event = EventStream().emit("x")
    assert before <= event.time <= time.time()


async def test_nothing_happens_once_closed(journal):
    seen = []
    stream = EventStream(log=journal.agent_log("w"), agent="w", observe=seen.append)
    stream.emit("x")
    stream.close()
    stream.close()
    assert stream.emit("y") is None
    assert stream.closed
    assert len(stream) == len(seen) == 1
    assert (journal.folder / "w.jsonl").read_bytes().count(b"\n") == 1


async def test_an_empty_stream_is_true_and_has_no_last():
    stream = EventStream()
    assert stream
    assert stream.last is None
    assert len(stream) == 0


async def test_observers_see_each_event_once_it_is_stored(journal):
    stored = []

    def observe(event):
        stored.append((event.seq, (journal.folder / "w.jsonl").read_bytes().count(b"\n")))

    stream = EventStream(log=journal.agent_log("w"), agent="w", observe=observe)
    stream.emit("x")
    stream.emit("y")
    assert stored == [(1, 1), (2, 2)]


async def test_an_observer_that_raises_stops_nobody(caplog):
    def observe(event):
        raise ValueError("bad observer")

    stream = EventStream(agent="w", observe=observe)
    with caplog.at_level(logging.ERROR):
        assert stream.emit("x").seq == 1
    assert "bad observer" in caplog.text
    assert "agent 'w'" in caplog.text


# --- reading


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 12, 13, 14, 500])
async def test_a_late_reader_sees_everything_in_order(journal, count):
    stream = EventStream(log=journal.agent_log("w"), window=10, agent="w")
    emitted = [stream.emit("x", {"n": n}, source="s") for n in range(count)]
    stream.close()
    assert [event async for event in stream] == emitted


async def test_an_early_reader_waits_and_ends_with_the_stream():
    stream = EventStream()
    got = []

    async def read():
        got.extend(await numbers(stream))

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for _ in range(3):
                await settle()
                stream.emit("x")
            stream.close()
    assert got == [1, 2, 3]


async def test_since_reads_what_comes_after_a_number(journal):
    stream = EventStream(log=journal.agent_log("w"), window=5, agent="w")
    for _ in range(20):
        stream.emit("x")
    stream.close()
    assert await numbers(stream.since(17)) == [18, 19, 20]
    assert await numbers(stream.since(2)) == list(range(3, 21))
    assert stream.since(-1).seq == 0
    assert await numbers(stream.since(-1)) == list(range(1, 21))
    assert await numbers(stream.since(20)) == []
    assert await numbers(stream.since(99)) == []


async def test_without_a_log_everything_is_kept():
    stream = EventStream(window=2)
    things = [stream.emit("x", Thing(n)) for n in range(100)]
    stream.close()
    assert [event async for event in stream] == things


async def test_a_reader_in_the_past_goes_on_into_the_present(journal):
    stream = EventStream(log=journal.agent_log("w"), window=10, agent="w")
    got = []

    async def read():
        async for event in stream:
            got.append(event.seq)
            if event.seq % 7 == 0:
                stream.emit("more") if len(stream) < 1000 else stream.close()

    for _ in range(300):
        stream.emit("x")
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            while len(stream) < 900:
                stream.emit("y")
                await checkpoint()
            await settle()
            stream.close()
    assert got == list(range(1, len(stream) + 1))


async def test_a_busy_reader_lets_others_run():
    stream = EventStream()
    for _ in range(1000):
        stream.emit("x")
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for event in stream:
            assert event.seq < 1000


Step = st.sampled_from(["emit", "emit many", "thing", "reader", "breathe", "cancel"])


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(Step, max_size=40), window=st.integers(1, 12), end=st.booleans())
def test_whatever_the_interleaving_nothing_is_missed_or_doubled(
    tmp_path_factory, steps, window, end
):
    journal = Journal(tmp_path_factory.mktemp("logs"))
    stream = EventStream(log=journal.process_log("p"), window=window, process="p")
    other = EventStream(log=journal.process_log("q"), window=window, process="q")
    emitted, readers, scopes = [], [], []

    async def read(reader, got, scope):
        with scope:
            async for event in reader:
                got.append(event)

    async def until_long(got, count):
        for _ in range(10_000):
            if len(got) >= count:
                return
            await anyio.sleep(0.001)

    async def play():
        async with anyio.create_task_group() as tasks:
            for step in steps:
                if step.startswith("emit"):
                    for _ in range(1 if step == "emit" else 30):
                        emitted.append(stream.emit("x", {"n": len(emitted)}))
                        other.emit("noise", "process p")
                elif step == "thing":
                    emitted.append(stream.emit("thing", Thing()))
                elif step == "reader":
                    start = len(emitted) // 2 * (len(readers) % 2)
                    readers.append((start, []))
                    scopes.append(anyio.CancelScope())
                    tasks.start_soon(read, stream.since(start), readers[-1][1], scopes[-1])
                elif step == "cancel" and scopes:
                    scopes.pop(0).cancel()
                    start, got = readers.pop(0)
                    assert got == emitted[start : start + len(got)]
                else:
                    await settle()
            if end:
                stream.close()
                return
            async with anyio.create_task_group() as rest:
                for start, got in readers:
                    rest.start_soon(until_long, got, len(emitted) - start)
            tasks.cancel_scope.cancel()

    async def bounded():
        with anyio.fail_after(HANGS):
            await play()

    anyio.run(bounded)
    journal.close()
    for start, got in readers:
        assert got == emitted[start:]
        pairs = zip(got, emitted[start:], strict=True)
        assert all(a.data is b.data for a, b in pairs if a.type == "thing")


# --- memory


async def test_memory_holds_the_window_and_no_more(journal):
    class Watched(dict):
        """Equals what JSON makes of it, but can be counted."""

        __slots__ = ("__weakref__",)

    alive = weakref.WeakSet()
    most = 0
    stream = EventStream(log=journal.agent_log("w"), window=100, agent="w")

    class ById(weakref.ref):
        __hash__ = object.__hash__
        __eq__ = object.__eq__

    alive = set()
    for n in range(100_000):
        data = Watched(n=n)
        alive.add(ById(data, alive.discard))
        stream.emit("x", data)
        most = max(most, len(alive))
    del data
    gc.collect()
    assert 100 <= len(alive) <= most <= 130
    count = 0
    async for event in stream:
        count += 1
        assert event.data == {"n": count - 1}
        if count == 100_000:
            break


async def test_a_payload_that_is_not_json_is_the_same_object_for_a_late_reader(journal):
    stream = EventStream(log=journal.agent_log("w"), window=5, agent="w")
    payloads = [Thing(), (1, 2), {1: 2}, {"a": {3}}, b"bytes", ValueError("x"), "\ud800"]
    for data in payloads:
        stream.emit("x", data)
    for _ in range(100):
        stream.emit("filler")
    stream.close()
    got = [event.data async for event in stream]
    assert all(a is b for a, b in zip(got, payloads, strict=False))


async def test_objects_beyond_the_limit_are_read_back_as_their_likeness(journal):
    stream = EventStream(log=journal.agent_log("w"), window=5, agent="w")
    references = []
    for n in range(MAX_OBJECTS + 20):
        thing = Thing(n)
        references.append(weakref.ref(thing))
        stream.emit("x", thing)
    del thing
    stream.close()
    gc.collect()
    assert sum(reference() is not None for reference in references) == MAX_OBJECTS
    got = [event.data async for event in stream]
    assert all("Thing object" in data for data in got[:20])
    assert [data.number for data in got[20:]] == list(range(20, MAX_OBJECTS + 20))


# --- waiting and cancellation


async def test_a_cancelled_reader_harms_nobody_and_loses_nothing(journal):
    stream = EventStream(log=journal.agent_log("w"), window=3, agent="w")
    got = []

    async def read():
        got.extend(await numbers(stream))

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            reader, taken = stream.since(0), []
            for _ in range(20):
                with anyio.move_on_after(0):
                    taken.append((await anext(reader)).seq)
                stream.emit("x")
            stream.close()
            taken += await numbers(reader)
    assert got == list(range(1, 21))
    assert taken == list(range(1, 21))


async def test_a_reader_can_be_cancelled_while_it_reads_back(journal):
    stream = EventStream(log=journal.agent_log("w"), window=3, agent="w")
    for _ in range(50):
        stream.emit("x")
    stream.close()
    reader = stream.since(0)
    task = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(reader) == list(range(1, 51))


# --- listen_for


async def test_listening_starts_at_the_call(journal):
    stream = EventStream(log=journal.agent_log("w"), window=3, agent="w")
    stream.emit("x", "before")
    waiting = stream.listen_for("x")
    stream.emit("x", "after")
    for _ in range(100):
        stream.emit("filler")
    with anyio.fail_after(HANGS):
        assert (await waiting).data == "after"


async def test_an_event_that_has_come_is_found_whatever_the_time_out():
    stream = EventStream()
    for timeout in (0, 0.0001, -1):
        waiting = stream.listen_for("x", timeout=timeout)
        event = stream.emit("x")
        await anyio.sleep(0.001)
        assert await waiting is event


async def test_a_listener_waits_for_what_fits():
    stream = EventStream()
    async with anyio.create_task_group() as tasks:

        async def emit():
            for n in range(5):
                stream.emit("x", n)
                stream.emit("y", n)
                await settle()

        tasks.start_soon(emit)
        with anyio.fail_after(HANGS):
            event = await stream.listen_for("y", where=lambda e: e.data == 3)
    assert (event.type, event.data) == ("y", 3)


async def test_any_event_will_do_without_a_type():
    stream = EventStream()
    waiting = stream.listen_for()
    event = stream.emit("whatever")
    assert await waiting is event
    assert await waiting is event


async def test_replay_looks_at_the_past_first(journal):
    stream = EventStream(log=journal.agent_log("w"), window=3, agent="w")
    for n in range(30):
        stream.emit("x", n)
    with anyio.fail_after(HANGS):
        assert (await stream.listen_for("x", replay=True)).seq == 1
        assert (await stream.listen_for(replay=True, where=lambda e: e.data > 4)).data == 5


async def test_a_listener_says_what_did_not_come():
    stream = EventStream(agent="w")
    stream.emit("started")
    with pytest.raises(EventTimeout, match=r"agent 'w'.*'finish'.*time is up.*'started'"):
        await stream.listen_for("finish", timeout=0.01)
    with pytest.raises(TimeoutError):
        await stream.listen_for("finish", timeout=0)


async def test_a_time_out_comes_even_while_other_events_never_end():
    stream = EventStream()
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:

            async def chatter():
                while True:
                    for _ in range(200):
                        stream.emit("noise")
                    await checkpoint()

            tasks.start_soon(chatter)
            with pytest.raises(EventTimeout):
                await stream.listen_for("x", timeout=0.05)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("timeout", [None, HANGS * 10])
async def test_a_listener_ends_when_the_stream_does(timeout):
    stream = EventStream(process="p1")
    async with anyio.create_task_group() as tasks:

        async def close():
            await settle()
            stream.emit("y")
            stream.close()

        tasks.start_soon(close)
        with anyio.fail_after(HANGS), pytest.raises(EventTimeout, match="events have ended"):
            await stream.listen_for("x", timeout=timeout)
    with pytest.raises(EventTimeout, match="events have ended"):
        await stream.listen_for("x")


async def test_the_last_event_before_the_end_is_found():
    stream = EventStream()
    async with anyio.create_task_group() as tasks:

        async def finish():
            await settle()
            stream.emit("x")
            stream.close()

        tasks.start_soon(finish)
        with anyio.fail_after(HANGS):
            assert (await stream.listen_for("x")).seq == 1


@pytest.mark.parametrize("what", ["event", "event and end", "end"])
async def test_what_comes_while_the_past_is_looked_at_is_noticed(journal, what):
    stream = EventStream(log=journal.agent_log("w"), window=3, agent="w")
    for _ in range(300):
        stream.emit("y")
    looking = anyio.Event()

    def look(event):
        if event.seq == 250:  # there are several points of rest before it and after it
            looking.set()
        return event.type == "x"

    async with anyio.create_task_group() as tasks:

        async def happen():
            await looking.wait()
            if "event" in what:
                stream.emit("x")
            if "end" in what:
                stream.close()

        tasks.start_soon(happen)
        with anyio.fail_after(HANGS):
            waiting = stream.listen_for(where=look, replay=True)
            if what == "end":
                with pytest.raises(EventTimeout):
                    await waiting
            else:
                assert (await waiting).seq == 301


async def test_who_waits_sleeps_until_something_comes(monkeypatch):
    waits = []
    real = anyio.Event.__new__(anyio.Event).__class__.wait

    async def wait(self):
        waits.append(self)
        await real(self)

    monkeypatch.setattr(anyio.Event.__new__(anyio.Event).__class__, "wait", wait)
    stream = EventStream()
    got = []

    async def read():
        got.extend(await numbers(stream))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        for _ in range(5):
            await settle()
            stream.emit("x")
            await settle()
        stream.close()
    assert sorted(got) == sorted([1, 2, 3, 4, 5] * 3)
    assert len(waits) == 3 * 6


async def test_many_listeners_and_a_cancelled_one():
    stream = EventStream()
    found = []

    async def listen(scope):
        with scope:
            found.append(await stream.listen_for("x"))

    scopes = [anyio.CancelScope() for _ in range(50)]
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for scope in scopes:
                tasks.start_soon(listen, scope)
            await settle()
            scopes[0].cancel()
            stream.emit("y")
            await settle()
            event = stream.emit("x")
    assert found == [event] * 49


async def test_a_listener_nobody_awaits_leaves_nothing():
    stream = EventStream()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = weakref.ref(stream.listen_for("x", timeout=5))
        gc.collect()
    assert reference() is None


async def test_a_predicate_that_raises_tells_who_listens():
    stream = EventStream()
    waiting = stream.listen_for(where=lambda e: e.data["missing"])
    stream.emit("x", {})
    with pytest.raises(KeyError):
        await waiting


# --- memory


async def test_large_payloads_do_not_fill_the_memory(journal):
    """However many they are: the log has them all, and gives them back."""
    stream = EventStream(log=journal.agent_log("w"), agent="w")
    tracemalloc.start()
    try:
        for n in range(200):
            stream.emit("tool_call", {"n": n, "arguments": chr(97 + n % 26) * 500_000})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * MAX_BYTES
    assert stream.last.data["n"] == 199
    stream.close()
    seen = 0
    async for event in stream:
        assert event.data == {"n": seen, "arguments": chr(97 + seen % 26) * 500_000}
        seen += 1
    assert seen == 200


async def test_one_payload_larger_than_all_the_memory_for_them(journal, monkeypatch):
    monkeypatch.setattr(events, "MAX_BYTES", 1000)
    stream = EventStream(log=journal.agent_log("w"), agent="w")
    reader = aiter(stream)
    for n in range(10):
        stream.emit("x", str(n) * 5000)
        assert (await anext(reader)).data == str(n) * 5000
    stream.close()
    assert [event.data[0] async for event in stream] == [*"0123456789"]


async def test_large_objects_give_way_to_later_ones(journal, monkeypatch):
    monkeypatch.setattr(events, "MAX_BYTES", 3000)
    stream = EventStream(log=journal.agent_log("w"), agent="w", window=1)
    errors = [ValueError(str(n) * 1000) for n in range(6)]
    for error in errors:
        stream.emit("failed", error)
    stream.close()
    got = [event.data async for event in stream]
    assert got[0] == {"error": "ValueError", "message": "0" * 1000}
    assert got[-2:] == errors[-2:]
