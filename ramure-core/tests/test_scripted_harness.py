"""The scripted harness: the contract of harnesses, and what its scripts can do."""

from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial

import anyio
import pytest

from ramure.backends.local import LocalBackend, LocalImage
from ramure.errors import AgentStartFailed
from ramure.run.protocol import Activity, Bye, Call, Failure, Result, State, Used
from ramure.testing import (
    BrokenJson,
    Crash,
    Delay,
    Drop,
    Exit,
    Fail,
    Finish,
    Hang,
    Raw,
    Text,
    Think,
    ToolCall,
    Usage,
)
from ramure.testing._stage import Stage
from ramure.testing.harness import ScriptedHarness
from ramure.testing.harnesses import HarnessContract
from ramure.testing.obedient import obedient
from ramure.values import Host

HANGS = 60
"""Seconds after which a test that waits has failed."""


@pytest.fixture
async def machine(ramure_home, tmp_path):
    (tmp_path / "work").mkdir()
    backend = LocalBackend()
    machine = await backend.provision(
        LocalImage(tmp_path / "work"), Host("local"), name="here", labels={"ramure.run": "r"}
    )
    yield machine
    await machine.destroy()
    await backend.aclose()


class TestInTheProgram(HarnessContract):
    own_process = False
    test_a_killed_program_is_noticed = None  # there is none to kill

    @pytest.fixture
    def machine(self, machine):
        return machine

    @pytest.fixture
    def harness(self):
        return ScriptedHarness(obedient)


class TestInAProcess(HarnessContract):
    @pytest.fixture
    def machine(self, machine):
        return machine

    @pytest.fixture
    def harness(self):
        return ScriptedHarness(obedient, process=True)


# --- scripts


@pytest.fixture(params=[False, True], ids=["in the program", "in a process"])
def harness_of(request):
    return partial(ScriptedHarness, process=request.param)


@asynccontextmanager
async def playing(harness, machine, **fields):
    """An agent that has started."""
    async with Stage(harness, machine, HANGS) as stage:
        agent = await stage.start(**fields)
        await agent.ready()
        yield agent


async def work(agent, text="go"):
    """Put a message and wait until it has been dealt with."""
    before = len(agent.said(State, state="idle"))
    agent.tell(text)
    await agent.says(State, before + 1, state="idle")


async def test_usage_and_text_arrive(harness_of, machine):
    used = Usage(100, 20, 5, 3, cost=0.25)
    script = [[Think("hm"), Text("Well, hello", chunk=3), used, Finish("stop")]]
    async with playing(harness_of(script), machine, model="some/model") as agent:
        await work(agent)
        (usage,) = agent.said(Used)
        assert (usage.model, usage.input, usage.output) == ("some/model", 100, 20)
        assert (usage.cache_read, usage.cache_write, usage.cost) == (5, 3, 0.25)
        (text,) = agent.said(Activity, type="text")
        assert text.data == {"text": "Well, hello"}
        assert await agent.session.screen() == "> go\nhm\nWell, hello"


async def test_the_list_goes_on_with_the_next_message(harness_of, machine):
    async with playing(harness_of(["one", "two"]), machine) as agent:
        for _ in range(3):
            await work(agent)
        texts = [said.data["text"] for said in agent.said(Activity, type="text")]
        assert texts[:2] == ["one", "two"]
        assert "no more turns" in texts[2]


async def test_scripts_by_the_agents_names(machine):
    harness = ScriptedHarness({"writer": ["I write"], "reviewer": ["I review"]})
    async with Stage(harness, machine, HANGS) as stage:
        for address, text in [("writer", "I write"), ("reviewer-2", "I review")]:
            agent = await stage.start(address)
            agent.tell("go")
            await agent.says(Activity, type="text", data={"text": text})


async def test_a_script_among_the_agents_options(machine):
    options = {"script": ["mine"]}
    async with playing(ScriptedHarness(["theirs"]), machine, options=options) as agent:
        await work(agent)
        assert agent.said(Activity, type="text")[0].data == {"text": "mine"}


async def test_a_passing_failure_is_tried_again(harness_of, machine):
    async with playing(harness_of([Fail(500), Drop(), Hang(0.01), "now"]), machine) as agent:
        await work(agent)
        failures = agent.said(Failure)
        assert [failure.final for failure in failures] == [False] * 3
        assert failures[0].message == "500 internal server error"
        assert agent.said(Activity, type="text")[0].data == {"text": "now"}


@pytest.mark.parametrize("turns", [[Fail(401, "no key")], [Fail(500)] * 3 + [Fail(429, "no key")]])
async def test_a_lasting_failure_ends_the_turn(harness_of, machine, turns):
    async with playing(harness_of([*turns, "next"]), machine) as agent:
        await work(agent)
        assert [failure.final for failure in agent.said(Failure)][-1]
        assert "no key" in agent.said(Failure)[-1].message
        await work(agent)
        assert agent.said(Activity, type="text")[0].data == {"text": "next"}


async def test_what_a_script_raises_fails_the_model_and_is_kept(machine):
    def boom(request):
        raise ZeroDivisionError("in the script")

    harness = ScriptedHarness([boom, ToolCall("echo", when={1}), Raw(b"x")])
    async with playing(harness, machine) as agent:
        for _ in range(3):
            await work(agent)
        messages = [failure.message for failure in agent.said(Failure, final=True)]
    assert "in the script" in messages[0]
    assert "TypeError" in messages[1]
    assert "cannot play" in messages[2]
    assert [type(error) for error in harness.errors] == [ZeroDivisionError, TypeError]


async def test_broken_arguments_reach_the_run_as_they_are(harness_of, machine):
    async with playing(harness_of([BrokenJson("echo", '{"a": 1, "b'), "ok"]), machine) as agent:
        agent.tell("go")
        call = await agent.says(Call)
        assert call.arguments == '{"a": 1, "b'
        agent.channel.send(Result(call=call.call, ok=False, text="no object"))
        await agent.says(Activity, type="text", data={"text": "ok"})
        (ended,) = agent.said(Activity, type="tool_end")
        assert (ended.data["is_error"], ended.data["result"]) == (True, "no object")


async def test_a_result_may_end_the_turn(harness_of, machine):
    async with playing(harness_of([ToolCall("finish"), "not said yet"]), machine) as agent:
        agent.tell("go")
        call = await agent.says(Call)
        agent.channel.send(Result(call=call.call, ok=True, text="bye", end=True))
        await agent.idles()
        assert not agent.said(Activity, type="text")


async def test_the_program_can_exit(harness_of, machine):
    async with playing(harness_of([[Text("so long"), Exit(3)]]), machine) as agent:
        agent.tell("go")
        await agent.says(Bye)
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert (ending.exit_code, ending.expected) == (3, False)
        assert "so long" in ending.screen


async def test_the_program_can_crash(harness_of, machine):
    async with playing(harness_of([[Delay(0.01), Crash()]]), machine) as agent:
        agent.tell("go")
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert ending.exit_code == -9
        assert not agent.said(Bye)


async def test_a_function_of_no_module_needs_the_program(machine):
    async with Stage(ScriptedHarness(lambda r: "x", process=True), machine, HANGS) as stage:
        with pytest.raises(AgentStartFailed, match="cannot be imported"):
            await stage.start()
        folder = anyio.Path(machine.state_dir, "agents", "w1")
        assert not [entry async for entry in folder.iterdir()]


async def test_a_process_that_cannot_be_started_leaves_nothing(machine):
    async with Stage(ScriptedHarness(["x"], process=True), machine, HANGS) as stage:
        with pytest.raises(AgentStartFailed, match="nowhere"):
            await stage.start(cwd="/nowhere")
        folder = anyio.Path(machine.state_dir, "agents", "w1")
        assert not [entry async for entry in folder.iterdir()]


async def test_agents_of_the_program_are_outside_of_its_context(machine):
    seen = ContextVar("seen", default="nothing")
    seen.set("the process")
    heard = []
    async with playing(ScriptedHarness([lambda r: heard.append(seen.get()) or "ok"]), machine) as a:
        await work(a)
    assert heard == ["nothing"]


async def test_it_refuses_to_be_elsewhere(machine):
    machine.here = False
    (problem,) = await ScriptedHarness().check(machine)
    assert "this computer" in str(problem)


async def test_hundreds_at_once(machine):
    harness = ScriptedHarness([ToolCall("echo", text="hi"), "done"])
    async with Stage(harness, machine, HANGS) as stage:
        agents = [await stage.start(f"w{number}") for number in range(200)]
        for agent in agents:
            agent.tell("go")
        for agent in agents:
            agent.answer((await agent.says(Call)).call, "ok")
        for agent in agents:
            await agent.says(Activity, type="text", data={"text": "done"})
