"""The log folder of a run: on disk before it is reported, readable whatever was emitted."""

import dataclasses
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import anyio
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramure.errors import InvalidName
from ramure.events import Event, EventStream
from ramure.run import journal as journal_module
from ramure.run.journal import Journal, read_log
from ramure.run.journal_lines import decode, encode

HANGS = 30


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "logs")
    yield journal
    journal.close()


def agent_stream(journal, address="w", **options):
    return EventStream(log=journal.agent_log(address), process="p1", agent=address, **options)


def process_stream(journal, process, **options):
    return EventStream(log=journal.process_log(process), process=process, **options)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def all_of(stream):
    stream.close()
    return [event async for event in stream]


def open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))


def run_python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


# --- what is written


async def test_each_event_is_a_line_that_says_all_of_it(journal):
    stream = agent_stream(journal)
    stream.emit("x", {"a": 1}, source="s", time=1.5)
    stream.emit("y", time=2)
    assert lines_of(journal.folder / "w.jsonl") == [
        {
            "time": 1.5,
            "type": "x",
            "data": {"a": 1},
            "seq": 1,
            "process": "p1",
            "agent": "w",
            "source": "s",
        },
        {"time": 2, "type": "y", "data": None, "seq": 2, "process": "p1", "agent": "w"},
    ]


async def test_processes_share_a_file_with_what_concerns_the_run(journal):
    first, second = process_stream(journal, "p1"), process_stream(journal, "p2")
    journal.record("machine_started", {"machine": "m"})
    first.emit("x")
    second.emit("y")
    journal.record("machine_removed")
    lines = lines_of(journal.folder / "_runtime.jsonl")
    assert [(line["type"], line.get("process"), line.get("seq")) for line in lines] == [
        ("machine_started", None, None),
        ("x", "p1", 1),
        ("y", "p2", 1),
        ("machine_removed", None, None),
    ]


async def test_folder_and_files_are_for_their_owner_alone(tmp_path):
    umask = os.umask(0)
    try:
        journal = Journal(tmp_path / "logs")
        agent_stream(journal).emit("x")
    finally:
        os.umask(umask)
    journal.close()
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((journal.folder / "w.jsonl").stat().st_mode) == 0o600


async def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    Journal(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


async def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path, journal, caplog):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (journal.folder / "w.jsonl").symlink_to(victim)
    stream = agent_stream(journal, window=1)
    for n in range(5):
        stream.emit("x", n)
    assert victim.read_text() == "mine\n"
    assert [event.data for event in await all_of(stream)] == [0, 1, 2, 3, 4]
    assert "w.jsonl" in caplog.text


@pytest.mark.parametrize(
    "address",
    ["", ".", "..", "../x", "a/b", "/etc/x", "a\\b", "a\0b", "a\nb", ".hidden", "\ud800"],
)
async def test_a_name_that_is_no_plain_file_name_is_refused(journal, address):
    with pytest.raises(InvalidName):
        journal.agent_log(address)
    assert not list(journal.folder.iterdir())


@pytest.mark.parametrize("address", ["_runtime", "_RunTime", "x" * 201, "é" * 101])
async def test_a_name_no_file_can_have_is_refused(journal, address):
    with pytest.raises(InvalidName):
        journal.agent_log(address)


# --- payloads


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


class Model(pydantic.BaseModel):
    path: Path = Path("/a")
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)


class Hostile(Exception):
    def __repr__(self, *_):
        raise ValueError("no repr")

    __str__ = __eq__ = __hash__ = __repr__


class Float(float):
    pass


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


LOOP = [1]
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (float("nan"), None),
        ([float("inf"), -float("inf")], [None, None]),
        (Float(1.5), 1.5),
        (b"bytes", "Ynl0ZXM="),
        ((1, (2,)), [1, [2]]),
        ({7}, [7]),
        ({1: "a", (1, 2): "b", None: "c"}, {"1": "a", "(1, 2)": "b", "None": "c"}),
        (ValueError("boom"), {"error": "ValueError", "message": "boom"}),
        ([KeyError("k")], [{"error": "KeyError", "message": "'k'"}]),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        (Point(1, "\ud800"), {"x": 1, "y": "\\ud800"}),
        (Model(), {"path": "/a", "when": "2026-01-01T00:00:00Z"}),
        ("lone \ud800", "lone \\ud800"),
        ({"\udfff": ["\ud800"]}, {"\\udfff": ["\\ud800"]}),
        (Hostile(), {"error": "Hostile", "message": "<Hostile>"}),
        (Point(1, Hostile()), {"x": 1, "y": {"error": "Hostile", "message": "<Hostile>"}}),
        (LOOP, [1, "<list: …>"]),
        (2**70, 2**70),
        (10**5000, "<int: …>"),
        (int, "<class 'int'>"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_is_emitted_becomes_one_line_of_json(journal, data, stored):
    stream = agent_stream(journal, window=1)
    stream.emit("x", data)
    stream.emit("y")
    stream.emit("z")
    first, *others = (journal.folder / "w.jsonl").read_text().splitlines()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(first, parse_constant=refuse)
    assert len(others) == 2
    assert line["data"] == stored
    got = await all_of(stream)
    assert got[0].data is data or got[0].data == stored


@pytest.mark.parametrize("text", [b"{\n}", b"}{", b""])
async def test_what_claims_to_be_json_is_not_believed(journal, text):
    stream = agent_stream(journal)
    stream.emit("x", msgspec.Raw(text))
    (line,) = lines_of(journal.folder / "w.jsonl")
    assert "Raw" in line["data"]


@pytest.mark.parametrize("depth", [100, 900, 3000, 100_000])
async def test_depth_is_no_trouble(journal, depth):
    stream = agent_stream(journal)
    data = nested(depth)
    stream.emit("x", data)
    assert len(lines_of(journal.folder / "w.jsonl")) == 1


async def test_names_may_hold_what_utf8_cannot(journal):
    stream = agent_stream(journal)
    event = stream.emit("\ud800", source="\udfff")
    (line,) = lines_of(journal.folder / "w.jsonl")
    assert (line["type"], line["source"]) == ("\\ud800", "\\udfff")
    assert event.type == "\ud800"


Plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)
Odd = Plain | st.binary() | st.tuples(Plain) | st.sets(st.integers()) | st.dates()


@settings(max_examples=200, deadline=None)
@given(data=Odd)
def test_a_line_that_is_said_to_be_faithful_reads_back_the_same(data):
    line, faithful = encode(Event("x", data, time=1.0))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    read = decode(line)
    assert read is not None
    if faithful:
        assert read == Event("x", data, time=1.0)


# --- reading back


async def test_streams_in_one_file_find_their_own(journal):
    streams = [process_stream(journal, f"p{n}", window=2) for n in range(11)]
    for turn in range(300):
        for n, stream in enumerate(streams):
            if turn % (n + 1) == 0:
                stream.emit("x", {"turn": turn, "process": "p1", "filler": "x" * 50})
        journal.record("noise", {"process": "p1", "seq": turn})
    for n, stream in enumerate(streams):
        got = [event.data["turn"] for event in await all_of(stream)]
        assert got == list(range(0, 300, n + 1))


async def test_the_index_stays_small_and_leads_to_each_event(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "BLOCK", 256)
    monkeypatch.setattr(journal_module, "MAX_INDEX", 16)
    log = journal.agent_log("w")
    stream = EventStream(log=log, window=2, agent="w")
    for n in range(3000):
        stream.emit("x", {"n": n, "filler": "x" * (n % 400)})
    assert 8 <= len(log._seqs) == len(log._offsets) <= 17
    gaps = [after - before for before, after in pairwise(log._offsets)]
    assert min(gaps) >= 256 * 8  # it has been thinned out, and what came then is as sparse
    stream.close()
    for seq in (0, 1, 2, 1498, 2997, 2998, 3000):
        got = [event.data["n"] async for event in stream.since(seq)]
        assert got == list(range(seq, 3000))


async def test_readers_at_different_places_do_not_confuse_each_other(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "BLOCK", 512)
    stream = agent_stream(journal, window=2)
    for n in range(400):
        stream.emit("x", n)
    stream.close()
    readers = [stream.since(start) for start in (300, 0, 150)]
    for step in range(100):
        for start, reader in zip((300, 0, 150), readers, strict=True):
            assert (await anext(reader)).data == start + step


async def test_a_long_line_is_read_whole(journal):
    stream = agent_stream(journal, window=1)
    sizes = [10, 3_000_000, 10, 70_000, 10, 10]
    for size in sizes:
        stream.emit("x", "x" * size)
    assert [len(event.data) for event in await all_of(stream)] == sizes


async def test_a_second_stream_of_the_same_name_is_told_apart(journal):
    first = agent_stream(journal, window=2)
    for n in range(50):
        first.emit("x", ["first", n])
    first.close()
    second = agent_stream(journal, window=2)
    for n in range(90):
        second.emit("x", ["second", n])
    assert [event.data for event in await all_of(second)] == [["second", n] for n in range(90)]
    assert [event.data for event in await all_of(first)] == [["first", n] for n in range(50)]


async def test_a_log_gives_its_own_events_each_once(journal):
    logs = [journal.agent_log("w"), journal.agent_log("w")]
    for n, log in enumerate(logs):
        for seq in range(1, 20 + 10 * n):
            log.append(Event("x", n, seq=seq, agent="w"))
    events = await logs[0].read(5)
    assert [(event.seq, event.data) for event in events] == [(seq, 0) for seq in range(5, 20)]


async def test_names_that_a_file_system_takes_for_one(journal):
    (journal.folder / "w.jsonl").touch()
    (journal.folder / "W.jsonl").hardlink_to(journal.folder / "w.jsonl")
    streams = [agent_stream(journal, name, window=2) for name in ("w", "W")]
    for n in range(200):
        for stream in streams:
            stream.emit("x", [stream.last and stream.last.seq, n])
    for stream in streams:
        assert {event.agent for event in await all_of(stream)} == {stream.last.agent}


async def test_what_an_earlier_run_left_in_the_folder_is_not_ours(tmp_path):
    for text in ("one", "two"):
        journal = Journal(tmp_path / "logs")
        stream = agent_stream(journal, window=2)
        for _ in range(20):
            stream.emit("x", text)
        assert [event.data for event in await all_of(stream)] == [text] * 20
        journal.close()
        with (tmp_path / "logs" / "w.jsonl").open("a") as file:
            file.write('{"time": 1, "type": "torn')
    lines = (tmp_path / "logs" / "w.jsonl").read_text().splitlines()
    assert len(lines) == 20 + 1 + 20 + 1


async def test_two_journals_in_one_folder_at_once(tmp_path):
    journals = [Journal(tmp_path / "logs") for _ in range(2)]
    streams = [process_stream(j, f"p{n}", window=2) for n, j in enumerate(journals)]
    for n in range(2000):
        for stream in streams:
            stream.emit("x", {"n": n, "filler": "x" * 100})
    for stream in streams:
        assert [event.data["n"] for event in await all_of(stream)] == list(range(2000))
    for journal in journals:
        journal.close()


async def test_streams_can_be_read_after_the_journal_is_closed(journal):
    stream = agent_stream(journal, window=2)
    for n in range(20):
        stream.emit("x", n)
    journal.close()
    stream.emit("late", 20)
    for n in range(21, 25):
        stream.emit("x", n)
    journal.close()
    assert [event.data for event in await all_of(stream)] == list(range(25))
    assert len(lines_of(journal.folder / "w.jsonl")) == 20


async def test_more_logs_than_descriptors(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        journal = Journal(tmp_path / "logs")
        streams = [agent_stream(journal, f"w{n}", window=1) for n in range(300)]
        for turn in range(4):
            for stream in streams:
                stream.emit("x", turn)
        for stream in streams:
            assert [event.data for event in await all_of(stream)] == [0, 1, 2, 3]
        assert open_descriptors() < 100
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_closing_lets_go_of_the_files(journal):
    before = open_descriptors()
    for n in range(5):
        agent_stream(journal, f"w{n}").emit("x")
    journal.record("x")
    assert open_descriptors() == before + 6
    journal.close()
    assert open_descriptors() == before


# --- crashes and full disks


async def test_kill_9_leaves_every_line_that_was_reported(tmp_path):
    program = """
        import os, signal, sys
        from pathlib import Path
        from ramure.events import EventStream
        from ramure.run.journal import Journal

        journal = Journal(Path(sys.argv[1]))
        agent = EventStream(log=journal.agent_log("w"), agent="w")
        process = EventStream(log=journal.process_log("p"), process="p")
        for n in range(500):
            agent.emit("x", n)
            process.emit("y", n)
            journal.record("z", n)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(program, tmp_path / "logs").returncode == -signal.SIGKILL
    agent = lines_of(tmp_path / "logs" / "w.jsonl")
    assert [line["data"] for line in agent] == list(range(500))
    assert len(lines_of(tmp_path / "logs" / "_runtime.jsonl")) == 1000


FULL_DISK = """
    import anyio, json, resource, sys
    from pathlib import Path
    from ramure.events import EventStream
    from ramure.run import journal as journal_module
    from ramure.run.journal import Journal

    def disk(size):  # what lies beyond this size in a file is refused; what still fits is written
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def emit(count):
        for _ in range(count):
            stream.emit("x", len(stream))

    def trouble():
        disk((folder / "w.jsonl").stat().st_size + 333)
        emit(60)
        for n in range(20):  # takes the descriptor away
            EventStream(log=journal.agent_log(f"w{n}")).emit("x")
        emit(30)

    async def main():
        emit(10)
        trouble()
        late = stream.since(0)
        first = [(await anext(late)).data for _ in range(50)]
        disk(resource.RLIM_INFINITY)
        emit(10)
        trouble()
        disk(resource.RLIM_INFINITY)
        emit(10)
        stream.close()
        print(json.dumps([first + [event.data async for event in late],
                          [event.data async for event in stream]]))

    resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
    journal_module.MAX_HELD = int(sys.argv[2])
    folder = Path(sys.argv[1])
    journal = Journal(folder)
    stream = EventStream(log=journal.agent_log("w"), agent="w", window=4)
    anyio.run(main)
    journal.close()
"""


async def test_a_full_disk_holds_up_nothing_and_loses_nothing(tmp_path):
    done = run_python(FULL_DISK, tmp_path / "logs", 8_000)  # enough for once, not for twice
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [list(range(210))] * 2
    assert [line["data"] for line in lines_of(tmp_path / "logs" / "w.jsonl")] == list(range(210))
    assert done.stderr.count("cannot be written") == 2  # once each time


@pytest.mark.parametrize("room", [1, 1_000])
async def test_a_disk_that_is_full_for_too_long_costs_no_more_than_the_log(tmp_path, room):
    # Memory holds few lines here; the events themselves are kept like those that are no JSON.
    done = run_python(FULL_DISK, tmp_path / "logs", room)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [list(range(210))] * 2
    lines = lines_of(tmp_path / "logs" / "w.jsonl")
    lost = [line["data"]["lines"] for line in lines if line["type"] == "events_lost"]
    assert len(lost) == 2
    assert len(lines) == 210 - sum(lost) + 2


async def test_a_line_may_be_larger_than_what_can_be_held(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_HELD", 10)
    stream = agent_stream(journal)
    stream.emit("x", "x" * 100)
    stream.emit("x", "x" * 100)
    assert len(lines_of(journal.folder / "w.jsonl")) == 2


async def test_events_that_are_nowhere_any_more_are_passed_over(journal, monkeypatch, caplog):
    monkeypatch.setattr(journal_module, "MAX_HELD", 0)
    monkeypatch.setattr("ramure.events.MAX_OBJECTS", 5)
    (journal.folder / "w.jsonl").symlink_to("nowhere")
    stream = agent_stream(journal, window=4)
    for n in range(100):
        stream.emit("x", n)
    with anyio.fail_after(HANGS):
        got = [event.data for event in await all_of(stream)]
    assert got == list(range(got[0], 100))
    assert 4 <= len(got) <= 10


async def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Journal(tmp_path / "file" / "logs")


async def test_a_log_that_was_removed_is_an_error_not_a_gap(journal):
    stream = agent_stream(journal, window=2)
    for n in range(20):
        stream.emit("x", n)
    (journal.folder / "w.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.jsonl"):
        await all_of(stream)


# --- read_log


async def collect(path, **options):
    return [event async for event in read_log(path, **options)]


async def test_a_log_reads_as_its_events_and_records(journal):
    stream = process_stream(journal, "p1")
    emitted = [stream.emit("x", n, time=n) for n in range(3)]
    journal.record("note", {"a": 1})
    *events, note = await collect(journal.folder / "_runtime.jsonl")
    assert events == emitted
    assert (note.type, note.data, note.seq, note.process) == ("note", {"a": 1}, 0, "")


async def test_a_log_is_filtered_by_type_and_time(journal):
    stream = agent_stream(journal)
    for n in range(6):
        stream.emit("even" if n % 2 == 0 else "odd", n, time=float(n))
    path = journal.folder / "w.jsonl"
    assert [e.data for e in await collect(path, type="odd")] == [1, 3, 5]
    assert [e.data for e in await collect(path, since=3)] == [3, 4, 5]
    assert [e.data for e in await collect(path, type="even", since=2.5)] == [4]


async def test_a_long_log_is_read_to_its_end(journal):
    stream = agent_stream(journal)
    for n in range(5000):
        stream.emit("x", {"n": n, "filler": "x" * 60})
    assert [e.data["n"] for e in await collect(journal.folder / "w.jsonl")] == list(range(5000))


async def test_what_is_no_line_is_left_out(tmp_path):
    path = tmp_path / "w.jsonl"
    good = '{"time": 1, "type": "x", "data": %d}\n'
    bad = ["\n", "no json\n", "[1]\n", '{"type": 1}\n', '{"time": 1, "type": "half', "\0\n"]
    text = "".join(good % n + line for n, line in enumerate(bad)) + good % 6
    path.write_bytes(text.encode() + b'\xff\xff\n{"time": 1, "type": "\xff", "data": 1}\n{"time": ')
    assert [event.data for event in await collect(path)] == [0, 1, 2, 3, 4, 6]


async def test_a_missing_log_is_an_error_unless_it_is_followed(tmp_path):
    with pytest.raises(FileNotFoundError):
        await collect(tmp_path / "w.jsonl")


async def test_a_followed_log_gives_what_comes_line_by_line(tmp_path):
    path = tmp_path / "w.jsonl"
    line = b'{"time": 1, "type": "x", "data": %d}\n'
    got = []

    async def follow():
        got.extend([event.data async for event in take(read_log(path, follow=True), 4)])

    async def take(events, count):
        async for event in events:
            yield event
            count -= 1
            if not count:
                break
        await events.aclose()

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(0.15)  # there is no file yet
            with path.open("ab", buffering=0) as file:
                file.write(line % 0 + line[:9])
                await anyio.sleep(0.25)  # it is seen while it is torn
                file.write(line[9:] % 1)
                await anyio.sleep(0.15)
                file.write(line % 2 + line % 3)
    assert got == [0, 1, 2, 3]


async def test_following_ends_when_it_is_cancelled(journal):
    journal.record("x")
    got = []
    with anyio.move_on_after(0.3):
        async for event in read_log(journal.folder / "_runtime.jsonl", follow=True):
            got.append(event.type)  # noqa: PERF401 a cancelled comprehension gives nothing
    assert got == ["x"]


def test_a_disk_error_is_a_warning_for_the_person(tmp_path, caplog):
    journal = Journal(tmp_path / "logs")
    (tmp_path / "logs" / "_runtime.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        journal.record("x")
        journal.record("y")
    (record,) = caplog.records
    assert "_runtime.jsonl" in record.getMessage()
    (tmp_path / "logs" / "_runtime.jsonl").rmdir()
    journal.record("z")
    journal.close()
    lines = lines_of(tmp_path / "logs" / "_runtime.jsonl")
    assert [line["type"] for line in lines] == ["x", "y", "z"]


def test_a_torn_line_is_ended_before_what_was_held(tmp_path):
    journal = Journal(tmp_path / "logs")
    path = tmp_path / "logs" / "_runtime.jsonl"
    path.mkdir()
    journal.record("x")
    path.rmdir()
    path.write_text('{"time": 1, "type": "torn')
    journal.record("y")
    journal.close()
    _, *lines = path.read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["x", "y"]


def test_closing_writes_what_could_not_be_written_before(tmp_path):
    journal = Journal(tmp_path / "logs")
    (tmp_path / "logs" / "_runtime.jsonl").mkdir()
    journal.record("x")
    (tmp_path / "logs" / "_runtime.jsonl").rmdir()
    journal.close()
    assert len(lines_of(tmp_path / "logs" / "_runtime.jsonl")) == 1
