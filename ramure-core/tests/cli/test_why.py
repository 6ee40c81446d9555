"""``ramure why``: of runs that ended in every way, and of one that goes on."""

import os
import signal
import textwrap

import pytest

PROLOGUE = """
import asyncio, os
from ramure import agent, agent_process, current_runtime, done, fail, spawn, wait
from ramure.testing import Exit, ScriptedHarness

@agent_process
async def inner():
    worker = await agent("worker", harness=ScriptedHarness([Exit(3)]))
    await worker.send("go")
    await wait()

@agent_process
async def main():
    print("ready", current_runtime().id, flush=True)
"""


@pytest.fixture
def ended(house):
    """Run the body of a root process to its end, and give its id."""

    def run(body, number=None):
        source = PROLOGUE + textwrap.indent(body, "    ") + "\nasyncio.run(main())\n"
        program = house.start(source)
        if number:
            os.kill(program.process.pid, number)
        program.process.wait(60)
        return program.id

    return run


def test_a_result(house, ended):
    run = ended("done(1); await wait()")
    said = house.ramure("why").out
    assert f"{run}  main  ended with a result" in said
    assert "went wrong" not in said
    assert "Processes that failed" not in said


def test_a_failure_and_where_it_came_from(house, ended):
    ended("await spawn(inner)")
    said = house.ramure("why").out
    assert "main  failed after" in said
    assert "AgentDied: agent 'worker' on ramure-" in said
    assert "it ended with exit code 3" in said
    assert "inner 1.1  the same" in said
    assert "agent_failed" in said


def test_a_failure_that_was_dealt_with(house, ended):
    ended("try: await spawn(inner)\nexcept Exception: pass")
    said = house.ramure("why").out
    assert "ended with a result" in said
    assert "inner 1.1  AgentDied: " in said


def test_a_signal(house, ended):
    ended("await asyncio.sleep(3600)", signal.SIGTERM)
    said = house.ramure("why").out
    assert "main  was cancelled" in said
    assert "SIGTERM" in said


def test_a_program_that_was_killed(house, ended):
    run = ended("await asyncio.sleep(3600)", signal.SIGKILL)
    said = house.ramure("why", "--id", run).out
    assert "ended without a farewell" in said


def test_one_that_goes_on(house, live):
    said = house.ramure("why").out
    assert "main  is running, for" in said


def test_for_programs(house, ended):
    run = ended("fail('no luck'); await wait()")
    told = house.ramure("why", "--json", "--dir", house.home / "logs" / run).json
    assert told["run"] == run
    assert not told["live"]
    (root,) = told["processes"]
    assert (root["name"], root["status"], root["error"]) == ("main", "failed", "ProcessFailed")
    assert root["message"] == "no luck"
    assert told["trouble"] == []


def test_which_run(house):
    assert house.ramure("why").code == 3
    assert house.ramure("why", "--dir", "nowhere").code == 3
