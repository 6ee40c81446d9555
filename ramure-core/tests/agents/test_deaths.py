"""Agents that die: what their program learns, and what a restart goes on with."""

import asyncio

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
from ramure.agents import outbox
from ramure.testing.bridge import BridgeEndedError


async def test_an_agent_that_dies_fails_its_process_loudly(one_agent):
    async with one_agent() as (handle, w, puppet):
        puppet.die()
        with anyio.fail_after(20), pytest.raises(ramure.AgentDied) as caught:
            await handle
        assert caught.value.agent == "w"
        assert caught.value.screen == "last words"
        assert "killed by the test" in str(caught.value)
        assert "last words" in str(caught.value)
        with pytest.raises(ramure.AgentDied):
            await w.send("anybody there?")
    assert puppet.stopped


async def test_a_death_interrupts_a_body_that_does_not_wait(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets)
        await asyncio.sleep(3600)

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        (await puppets.up("w")).die()
        with anyio.fail_after(20), pytest.raises(ramure.AgentDied):
            await handle


async def test_wait_raises_the_death_so_that_a_program_can_go_on(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets)
        try:
            await wait()
        except ramure.AgentDied as error:
            await agent("w", harness=puppets)
            return error.reason

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        (await puppets.up("w")).die()
        assert "killed" in await handle


async def test_an_immediate_retry_may_use_the_same_names(puppets):
    @agent_process
    async def flaky(attempt: int):
        await agent("w", harness=puppets)
        if attempt < 5:
            ramure.fail("again")
        done(attempt)
        return await wait()

    @agent_process
    async def main():
        attempt = 0
        while True:
            async for event in spawn(flaky, attempt).events:
                if event.type == "done":
                    return event.data
            attempt += 1

    assert await main() == 5
    assert list(puppets.started) == ["w"]


async def test_a_program_may_ignore_a_death(one_agent):
    async with one_agent(on_failure="ignore") as (handle, w, puppet):
        ended = w.events.listen_for("ended", timeout=20)
        puppet.die()
        await ended
        assert handle.status == "running"
        assert w.status == "ended"


async def test_a_restarted_agent_gets_what_it_missed(puppets, one_agent):
    async with one_agent(on_failure="restart") as (handle, w, puppet):

        @w.on("echo")
        async def echo(text: str) -> str:
            return text

        await w.send("not read yet")
        restarted = handle.events.listen_for("agent_restarted", timeout=30)
        puppet.die()
        await restarted
        second = await puppets.up("w", 2)
        assert second.spec.incarnation == 2
        assert second.spec.token != puppet.spec.token
        assert second.spec.state_dir == puppet.spec.state_dir
        with anyio.fail_after(20):
            assert (await second.bridge.receive()).text == "not read yet"
        assert (await second.bridge.call("echo", {"text": "x"})).text == "x"
        assert w.status == "idle"
        with pytest.raises(BridgeEndedError):
            await puppet.bridge.call("echo", {"text": "from the dead"})


async def test_no_more_waits_for_an_agent_than_there_is_room_for(one_agent, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_CHARACTERS", 100)
    async with one_agent() as (_, w, puppet):
        for _ in range(3):
            await w.send("x" * 60)
            with pytest.raises(ramure.AgentError, match="1 messages of 60 characters wait for it"):
                await w.send("y" * 60)
            taken = w.events.listen_for("taken", timeout=20)
            puppet.bridge.taken(await puppet.bridge.receive())
            await taken


async def test_a_turn_that_a_death_broke_off_is_gone_on_with(puppets, one_agent):
    """One that remembers is told so, before what it did not take up; and one that does not."""
    async with one_agent(on_failure="restart") as (handle, w, puppet):
        puppets.remembers = True
        await w.send("the task")
        puppet.bridge.taken(await puppet.bridge.receive())
        puppet.bridge.state("busy")
        await w.send("not read yet")
        puppet.die()
        restarted = await handle.events.listen_for("agent_restarted", replay=True, timeout=30)
        assert restarted.data["resumed"]
        second = await puppets.up("w", 2)
        with anyio.fail_after(20):
            notice = await second.bridge.receive()
            assert "restarted" in notice.text
            assert not w.idle
            assert (await second.bridge.receive()).text == "not read yet"
        second.die()  # before it took anything: it is told once
        third = await puppets.up("w", 3)
        with anyio.fail_after(20):
            assert (await third.bridge.receive()).id == notice.id
            assert (await third.bridge.receive()).text == "not read yet"


async def test_one_that_forgets_gets_the_messages_of_a_broken_turn_again(puppets, one_agent):
    async with one_agent(on_failure="restart") as (_, w, puppet):
        for text in ("done with", "the task", "more of it"):
            await w.send(text)
            puppet.bridge.taken(await puppet.bridge.receive())
            if text == "done with":
                idle = w.events.listen_for("idle", timeout=20)
                puppet.bridge.state("idle")
                await idle
        taken = w.events.listen_for("taken", where=lambda e: e.data["id"] == "m3", replay=True)
        await taken
        puppet.die()
        second = await puppets.up("w", 2)
        with anyio.fail_after(20):
            again = [await second.bridge.receive() for _ in range(2)]
        assert [message.text for message in again] == ["the task", "more of it"]


async def test_a_turn_that_had_ended_is_not_gone_on_with(puppets, one_agent):
    async with one_agent(on_failure="restart") as (handle, w, puppet):
        await w.send("the task")
        puppet.bridge.taken(await puppet.bridge.receive())
        puppet.bridge.state("busy")
        idle = w.events.listen_for("idle", timeout=20)
        puppet.bridge.state("idle")
        await idle
        puppet.die()
        restarted = await handle.events.listen_for("agent_restarted", replay=True, timeout=30)
        assert not restarted.data["resumed"]
        await w.send("the next")
        second = await puppets.up("w", 2)
        with anyio.fail_after(20):
            assert (await second.bridge.receive()).text == "the next"


async def test_a_restart_cancels_the_open_calls_of_the_predecessor(one_agent):
    async with one_agent(on_failure="restart") as (handle, w, puppet):
        ended = anyio.Event()

        @w.on("slow")
        async def slow() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        called = w.events.listen_for("tool_call", timeout=20)
        async with anyio.create_task_group() as tasks:

            async def call():
                with pytest.raises(BridgeEndedError):
                    await puppet.bridge.call("slow")

            tasks.start_soon(call)
            await called
            puppet.die()
            with anyio.fail_after(20):
                await ended.wait()
        await handle.events.listen_for("agent_restarted", replay=True, timeout=30)


@pytest.mark.parametrize("pause", [0.1, 1.2])
async def test_stopped_while_it_is_restarted_it_stays_stopped(puppets, one_agent, pause):
    async with one_agent(on_failure="restart") as (_, w, puppet):
        puppets.slow = 0.5
        restarting = w.events.listen_for("restarting", timeout=20)
        puppet.die()
        await restarting
        await anyio.sleep(pause)  # in the backoff, or while the next is being started
        await w.stop()
        assert w.status == "ended"
        await anyio.sleep(2)
        assert all(p.stopped for p in puppets.started["w"])
        assert w.status == "ended"
