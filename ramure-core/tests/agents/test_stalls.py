"""Agents that do not get on: messages never taken, models that fail, silence, idleness."""

import time
from contextlib import suppress

import anyio
import pytest

import ramure
from ramure import (
    agent,
    agent_process,
    done,
    running,
    spawn,
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


HOUR = 3600.0


async def test_a_tool_that_never_ends_is_a_failure(one_agent):
    async with one_agent() as (handle, w, puppet):
        puppet.bridge.state("busy")
        puppet.bridge.event("tool_start", {"id": "t1", "name": "bash"})
        await w.events.listen_for("tool_start", replay=True, timeout=20)
        w.tend(time.monotonic() + 0.9 * HOUR, waiting=True)
        assert handle.status == "running"
        w.tend(time.monotonic() + 1.1 * HOUR, waiting=True)
        with (
            anyio.fail_after(20),
            pytest.raises(ramure.AgentStalled, match=r"'bash'.*tool_timeout"),
        ):
            await handle


async def test_a_tool_may_take_for_ever_where_the_program_says_so(one_agent):
    async with one_agent(tool_timeout=None) as (handle, w, puppet):
        puppet.bridge.state("busy")
        puppet.bridge.event("tool_start", {"id": "t1", "name": "bash"})
        await w.events.listen_for("tool_start", replay=True, timeout=20)
        w.tend(time.monotonic() + 1000 * HOUR, waiting=True)
        assert handle.status == "running"


@pytest.mark.parametrize("lost", [False, True])
async def test_after_its_tools_silence_is_the_models_again(one_agent, lost):
    async with one_agent(on_failure="ignore") as (handle, w, puppet):
        puppet.bridge.state("busy")
        puppet.bridge.event("tool_start", {"id": "t1", "name": "bash"})
        if lost:
            puppet.bridge.usage(model="m")
        else:
            puppet.bridge.event("tool_end", {"id": "t1", "name": "bash"})
        await w.events.listen_for("usage" if lost else "tool_end", replay=True, timeout=20)
        w.tend(time.monotonic() + 0.9 * HOUR, waiting=True)
        failed = await handle.events.listen_for("agent_failed", replay=True, timeout=20)
        assert "its model said nothing" in failed.data["error"]


async def test_a_handler_that_never_returns_is_a_failure(one_agent):
    async with one_agent() as (handle, w, puppet):

        @w.on("dawdle")
        async def dawdle() -> None:
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(puppet.bridge.call, "dawdle")
            await w.events.listen_for("tool_call", replay=True, timeout=20)
            w.tend(time.monotonic() + 1.1 * HOUR, waiting=True)
            with anyio.fail_after(20), pytest.raises(ramure.AgentStalled, match="'dawdle'"):
                await handle
            tasks.cancel_scope.cancel()


async def test_a_handler_that_waits_for_a_child_is_as_patient_as_that(puppets):
    release = anyio.Event()

    @agent_process
    async def child():
        await release.wait()

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)

        @w.on("delegate")
        async def delegate() -> str:
            await spawn(child)
            return "at last"

        return await wait()

    async with running(main) as handle:
        puppet = await puppets.up("w")
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        w = handle.agents["w"]

        async def look():
            await w.events.listen_for("tool_call", replay=True, timeout=20)
            await anyio.wait_all_tasks_blocked()
            w.tend(time.monotonic() + 5 * HOUR, waiting=True)
            assert handle.status == "running"
            release.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            with anyio.fail_after(20):
                assert (await puppet.bridge.call("delegate")).text == "at last"
        assert handle.status == "running"


async def test_silence_begins_anew_when_a_call_has_its_result(one_agent):
    async with one_agent(stall_timeout=1.5) as (handle, w, puppet):

        @w.on("slow")
        async def slow() -> None:
            await anyio.sleep(2)

        puppet.bridge.state("busy")
        await puppet.bridge.call("slow")
        w.tend(time.monotonic(), waiting=True)
        puppet.bridge.state("idle")
        await w.events.listen_for("idle", replay=True, timeout=20)
        assert handle.status == "running"


async def test_messages_to_it_do_not_hide_that_it_is_silent(one_agent):
    async with one_agent(stall_timeout=0.5) as (handle, w, puppet):
        puppet.bridge.state("busy")
        with anyio.fail_after(20):
            while handle.status == "running":
                with suppress(ramure.AgentError):
                    await w.send("how is it going?")
                await anyio.sleep(0.05)
            with pytest.raises(ramure.AgentStalled):
                await handle


async def test_the_dead_are_not_stalled(puppets):
    @agent_process
    async def main():
        w = await agent("w", harness=puppets)
        await w.send("never taken")
        with pytest.raises(ramure.AgentDied):
            await wait()
        w.tend(time.monotonic() + HOUR, waiting=True)
        done()
        return await wait()

    async with running(main) as handle:
        puppet = await puppets.up("w")
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        puppet.die()
        with anyio.fail_after(20):
            await handle
        assert len([e async for e in handle.events if e.type == "agent_failed"]) == 1


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
