"""``ramure ls`` and ``ramure status``."""

import os
import signal

HANGS = 60
"""Seconds after which something that is awaited has failed."""

AGENT = {
    *("name", "address", "machine", "status", "idle_seconds", "model", "incarnation"),
    *("pid", "connected", "tokens", "cost", "connections", "session"),
}
RUN = {"id", "name", "status", "started", "pid", "host", "logs", "agents", "version"}


def test_nothing_lives(house):
    listed = house.ramure("ls")
    assert (listed.code, listed.out) == (0, "")
    assert "no live run" in listed.err
    assert house.ramure("ls", "--json").json == []


def test_ls_lists_what_lives(shared):
    [about] = shared.ramure("ls", "--json").json
    assert set(about) == RUN
    assert about["id"] == shared.live.id
    assert about["pid"] == shared.live.process.pid
    assert (about["name"], about["status"], about["agents"]) == ("main", "running", 3)
    header, line = shared.ramure("ls").out.splitlines()
    assert header.split() == ["ID", "NAME", "STATUS", "STARTED", "AGENTS"]
    assert line.split()[:3] == [shared.live.id, "main", "running"]
    assert "\x1b" not in line


def test_ls_all_tells_how_runs_ended(house):
    program = house.start()
    program.end()
    assert house.ramure("ls", "--json").json == []
    [about] = house.ramure("ls", "--all", "--json").json
    assert (about["id"], about["name"], about["status"]) == (program.id, "main", "cancelled")
    assert about["started"] <= about["ended"]


LONG = """
import asyncio
from ramure import agent_process, current_runtime

@agent_process
async def main():
    print("ready", current_runtime().id, flush=True)
    return "x" * 200_000

asyncio.run(main())
"""


def test_ls_all_tells_how_a_run_ended_that_had_much_to_say(house):
    program = house.start(LONG)
    program.process.wait(HANGS)
    [about] = house.ramure("ls", "--all", "--json").json
    assert (about["name"], about["status"]) == ("main", "done")


def test_ls_leaves_out_a_run_that_died(house, dead_run, live):
    assert [run["id"] for run in house.ramure("ls", "--json").json] == [live.id]


def test_ls_lists_a_run_whose_program_is_stopped(house, live):
    os.kill(live.process.pid, signal.SIGSTOP)
    try:
        [about] = house.ramure("ls", "--json").json
        assert about == {"id": live.id, "name": "", "status": "not answering"}
    finally:
        os.kill(live.process.pid, signal.SIGCONT)


def test_status_shows_the_tree(shared):
    said = shared.ramure("status", "--json").json
    assert set(said) == {"run", "process", "machines", "waiting", "usage"}
    assert set(said["run"]) == RUN
    root = said["process"]
    assert (root["id"], root["name"], root["waiting"]) == ("1", "main", True)
    assert root["endpoints"] == ["add", "broken", "greet", "slow", "told"]
    worker, reviewer = root["agents"]
    assert set(worker) == set(reviewer) == AGENT
    assert worker["connections"] == ["reviewer"]
    assert reviewer["connections"] == []
    [child] = root["children"]
    assert [agent["address"] for agent in child["agents"]] == ["writer"]
    machines = {machine["name"]: machine for machine in said["machines"]}
    assert machines[worker["machine"]]["agents"] == ["worker", "reviewer"]
    assert machines[shared.live.said[0]]["agents"] == []
    assert set(said["usage"]) == {"tokens", "cost"}


def test_status_is_readable(shared):
    text = shared.ramure("status").out
    assert shared.live.id in text
    assert "├─ worker  idle" in text
    assert "→ reviewer" in text
    assert "└─ child 1.1" in text
    assert "   └─ writer" in text
    assert "endpoints: add, broken" in text
    assert shared.live.said[0] in text


def test_the_id_may_be_a_prefix_or_left_out(shared):
    for arguments in ((), ("--id", shared.live.id), ("--id", shared.live.id[:9])):
        assert shared.ramure("status", "--json", *arguments).json["run"]["id"] == shared.live.id


def test_several_runs_are_listed(house):
    one, other = house.start(), house.start()
    assert {run["id"] for run in house.ramure("ls", "--json").json} == {one.id, other.id}
    unnamed = house.ramure("status")
    assert unnamed.code == 4
    assert unnamed.out == ""
    assert "--id" in unnamed.err
    assert one.id in unnamed.err
    assert other.id in unnamed.err
    ambiguous = house.ramure("status", "--id", "1")
    assert ambiguous.code == 4
    assert other.id in ambiguous.err
    assert house.ramure("status", "--id", other.id, "--json").json["run"]["id"] == other.id


def test_no_run(house):
    said = house.ramure("status")
    assert said.code == 3
    assert "ramure ls --all" in said.err
    assert house.ramure("status", "--id", "xyz").code == 3


def test_a_run_that_has_ended(house):
    program = house.start()
    program.end()
    said = house.ramure("status", "--id", program.id)
    assert said.code == 3
    assert f"ramure why --id {program.id}" in said.err


def test_a_run_that_died(house, dead_run):
    said = house.ramure("status", "--id", dead_run)
    assert said.code == 6
    assert "ramure gc" in said.err
    assert "ramure gc" in house.ramure("status").err


def test_a_long_home_works_through_a_link(house):
    home = str(house.folder / ("long" * 20) / ("home" * 20))
    program = house.start(RAMURE_HOME=home)
    assert house.ramure("status", "--json", RAMURE_HOME=home).json["run"]["id"] == program.id
    program.end()
    assert house.ramure("ls", "--json", RAMURE_HOME=home).json == []
