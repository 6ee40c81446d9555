"""``ramure logs``: of live and of finished runs."""

import json
import subprocess
import sys
import threading
import time
from subprocess import PIPE

import psutil
import pytest

HANGS = 60

TICKING = """
import asyncio
from ramure import agent_process, current_runtime, emit

@agent_process
async def main():
    emit("tick", 0)
    print("ready", current_runtime().id, flush=True)
    for n in range(1, 30):
        await asyncio.sleep(0.1)
        emit("tick", n)

asyncio.run(main())
"""


def test_everything_in_the_order_of_time(shared):
    events = [json.loads(line) for line in shared.ramure("logs", "--json").out.splitlines()]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert {"time", "type", "data", "seq", "process", "agent", "source"} == set(events[0])
    assert {"", "worker", "reviewer", "writer"} == {event["agent"] for event in events}
    assert {"started", "machine_started", "ready", "connected"} <= {e["type"] for e in events}


def test_one_agent(shared):
    lines = shared.ramure("logs", "worker").out.splitlines()
    assert lines
    assert all("  worker  " in line for line in lines)


def test_types(shared):
    lines = shared.ramure("logs", "-t", "started", "-t", "machine_started").out.splitlines()
    assert {line.split("  ")[2] for line in lines} == {"started", "machine_started"}


@pytest.mark.parametrize(("since", "some"), [("1h", True), ("2000-01-01", True), ("0s", False)])
def test_since(shared, since, some):
    assert bool(shared.ramure("logs", "--since", since).out) is some


def test_nonsense_is_refused(shared):
    assert shared.ramure("logs", "--since", "yesterday").code == 2
    unknown = shared.ramure("logs", "nobody")
    assert unknown.code == 5
    assert "reviewer, worker, writer" in unknown.err
    assert shared.ramure("logs", "../worker").code == 5
    assert shared.ramure("logs", "--id", "xyz").code == 3


def test_of_the_last_run_that_ended(house):
    first = house.start(TICKING)
    first.process.wait(60)
    time.sleep(1.1)  # ids sort by the second
    second = house.start(TICKING)
    second.process.wait(60)
    last = house.ramure("logs", "--json", "-t", "started").out
    again = house.ramure("logs", "--json", "-t", "started", "--id", second.id).out
    assert last == again != ""
    assert house.ramure("logs", "-t", "tick", "--id", first.id).out.count("tick") == 30


def test_follow_ends_with_the_run(house):
    program = house.start(TICKING)
    followed = house.ramure("logs", "--follow", "--json", "-t", "tick", "--id", program.id)
    assert followed.code == 0
    assert [json.loads(line)["data"] for line in followed.out.splitlines()] == list(range(30))


def test_follow_ends_with_a_run_that_was_killed_with_its_keeper(house, live):
    command = [sys.executable, "-m", "ramure", "logs", "worker", "-f", "--id", live.id]
    following = subprocess.Popen(command, env=house.env, stdout=PIPE, stderr=PIPE, text=True)
    with following:
        following.stdout.readline()
        program = psutil.Process(live.process.pid)
        for process in (*program.children(recursive=True), program):  # the keeper first
            process.kill()
        try:
            _, told = following.communicate(timeout=HANGS)
        finally:
            following.kill()
    assert following.returncode == 6
    assert f"the run {live.id} died" in told
    assert "`ramure gc`" in told
    assert house.ramure("gc").code == 0


def test_follow_tells_of_a_run_that_was_killed_and_cleaned_up_after(house, live):
    command = [sys.executable, "-m", "ramure", "logs", "-f", "--id", live.id]
    following = subprocess.Popen(command, env=house.env, stdout=PIPE, stderr=PIPE, text=True)
    with following:
        following.stdout.readline()
        live.process.kill()
        try:
            _, told = following.communicate(timeout=HANGS)
        finally:
            following.kill()
    assert following.returncode == 6
    assert f"the run {live.id} died" in told


def test_follow_ends_with_a_run_that_left_something(house, stubborn):
    command = [sys.executable, "-m", "ramure", "logs", "-f", "--id", stubborn.id]
    following = subprocess.Popen(command, env=house.env, stdout=PIPE, stderr=PIPE, text=True)
    with following:
        following.stdout.readline()
        stubborn.end()
        try:
            _, told = following.communicate(timeout=HANGS)
        finally:
            following.kill()
    assert following.returncode == 0
    [machine] = stubborn.said
    assert f"the run {stubborn.id} has ended, but" in told
    assert machine in told
    assert "`ramure gc`" in told


def test_follow_says_that_there_is_no_such_agent_yet(house, live):
    command = [sys.executable, "-m", "ramure", "logs", "wroker", "-f"]
    with subprocess.Popen(command, env=house.env, stderr=PIPE, text=True) as following:
        watch = threading.Timer(HANGS, following.kill)
        watch.start()
        told = following.stderr.readline()
        following.kill()
        watch.cancel()
    assert told == "no agent 'wroker' yet; there are: reviewer, worker, writer\n"


def test_follow_shows_what_happens_at_once(house, live):
    command = [sys.executable, "-m", "ramure", "logs", "worker", "-f", "-t", "message_sent"]
    with subprocess.Popen(command, env=house.env, stdout=subprocess.PIPE, text=True) as following:
        try:
            house.ramure("send", "worker", "one")
            assert '"text": "one"' in following.stdout.readline()
            house.ramure("send", "worker", "two")
            assert '"text": "two"' in following.stdout.readline()
        finally:
            following.terminate()


def test_a_reader_that_stops_reading(house, live):
    command = f"{sys.executable} -m ramure logs | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], env=house.env, capture_output=True, text=True, check=True
    )
    assert "started" in done.stdout
    assert done.stderr == ""


def test_moved_logs(house):
    folder = house.folder / "elsewhere"
    source = TICKING.replace("@agent_process", f"@agent_process(log_dir={str(folder)!r})")
    leave = house.folder / "leave"
    waiting = f"import pathlib\n    while not pathlib.Path({str(leave)!r}).exists():\n"
    source = source.replace(
        "\nasyncio.run", f"    {waiting}        await asyncio.sleep(0.05)\n\nasyncio.run"
    )
    program = house.start(source)
    assert "tick" in house.ramure("logs").out
    leave.touch()  # it must not be over before it has been looked at, however long that takes
    program.process.wait(60)
    assert house.ramure("logs", "--dir", str(folder), "-t", "tick").out.count("tick") == 30


def test_what_is_logged_cannot_act_on_the_terminal(house):
    source = TICKING.replace('emit("tick", 0)', r'emit("tick", "\x1b[31mred\x9b31m\x07")')
    program = house.start(source)
    shown = house.terminal("logs", "--id", program.id, "-t", "tick")
    shown.wait()
    assert "\x1b[31m" not in shown.seen
    assert "\x9b" not in shown.seen
    assert "\x07" not in shown.seen
