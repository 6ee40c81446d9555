"""Agents that do not get on: messages never taken, models that fail, silence, idleness."""

import anyio
import pytest

import ramure
from ramure import (
    agent,
    agent_process,
    running,
    wait,
)


async def test_a_message_that_is_never_taken_is_a_failure(one_agent):
    async with one_agent(stall_timeout=0.5) as (handle, w, _):
        await w.send("is anybody there?")
        with anyio.fail_after(20), pytest.raises(ramure.AgentStalled):
            await handle


async def test_a_model_failure_for_good_fails_the_process(one_agent):
    async with one_agent() as (handle, _, puppet):
        puppet.bridge.failure("500 again", final=False)
        puppet.bridge.failure("401 unauthorized")
        with anyio.fail_after(20), pytest.raises(ramure.ModelFailed, match="401 unauthorized"):
            await handle


async def test_a_silent_model_is_a_failure(one_agent):
    async with one_agent(stall_timeout=0.3) as (handle, _, puppet):
        puppet.bridge.state("busy")
        with anyio.fail_after(20), pytest.raises(ramure.AgentStalled, match=r"0\.3 s"):
            await handle


async def test_a_tool_at_work_is_no_stall(one_agent):
    async with one_agent(stall_timeout=0.3) as (handle, _, puppet):
        puppet.bridge.state("busy")
        puppet.bridge.event("tool_start", {"name": "bash"})
        await anyio.sleep(1.0)
        assert handle.status == "running"


async def test_everybody_idle_is_a_typed_failure(puppets):
    @agent_process(idle_timeout=0.5)
    async def main():
        await agent("w", harness=puppets)
        await wait()

    async with running(main) as handle:
        with anyio.fail_after(20), pytest.raises(ramure.AgentIdle, match="'w'"):
            await handle


async def test_a_busy_agent_is_not_idle(puppets):
    @agent_process(idle_timeout=0.4)
    async def main():
        await agent("w", harness=puppets)
        await wait()

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        puppet = await puppets.up("w")
        puppet.bridge.state("busy")
        await anyio.sleep(1.2)
        assert handle.status == "running"
        puppet.bridge.state("idle")
        with anyio.fail_after(20), pytest.raises(ramure.AgentIdle):
            await handle


async def test_nudges(one_agent):
    nudge = ramure.Nudge("go on!", after=0.1, limit=2)
    async with one_agent(nudge=nudge) as (_, w, puppet):
        del w
        for _ in range(2):
            with anyio.fail_after(20):
                message = await puppet.bridge.receive()
            assert message.text == "go on!"
            puppet.bridge.taken(message)
            puppet.bridge.state("busy")
            puppet.bridge.state("idle")


async def test_an_agent_that_never_reports_is_a_typed_failure(puppets):
    puppets.mute = True

    @agent_process
    async def main():
        await agent("w", harness=puppets, start_timeout=0.3)

    with pytest.raises(ramure.AgentStartFailed, match=r"0\.3 s") as caught:
        await main()
    assert caught.value.screen == "the screen"
    assert puppets.started["w"][0].stopped
