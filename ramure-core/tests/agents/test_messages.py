"""Messages to an agent that cannot be sent: nothing of them stays behind."""

from contextlib import suppress

import anyio
import pytest

import ramure
from ramure import agent, agent_process, running, wait

TOO_LARGE = "x" * 17_000_000


async def answer_questions(puppet):
    message = await puppet.bridge.receive()
    puppet.bridge.state("busy")
    puppet.bridge.taken(message)
    await puppet.bridge.call("answer_1", {"answer": 42})
    puppet.bridge.state("idle")


async def test_a_message_that_is_too_large_leaves_no_ghost(puppets):
    @agent_process(idle_timeout=0.5)
    async def main():
        w = await agent("w", harness=puppets, stall_timeout=None)
        with pytest.raises(ramure.AgentError, match="too large"):
            await w.send(TOO_LARGE)
        assert w.idle
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_questions, await puppets.up("w"))
            with anyio.fail_after(20):
                assert await w.ask("How much?", int) == 42
        await wait()

    async with running(main) as handle:
        with anyio.fail_after(20), pytest.raises(ramure.AgentIdle):
            await handle


async def test_a_message_that_is_too_large_for_the_next_program_fails_its_sender(one_agent):
    async with one_agent(on_failure="restart") as (handle, w, puppet):
        puppet.die()
        await w.events.listen_for("restarting", replay=True, timeout=20)
        with anyio.fail_after(20), pytest.raises(ramure.AgentError, match="too large"):
            await w.send(TOO_LARGE)
        with anyio.fail_after(20):
            await w.send("hello")
        assert w.incarnation == 2
        assert handle.status == "running"


async def test_tools_that_could_not_be_announced_are_announced_later(one_agent):
    async with one_agent(on_failure="ignore") as (handle, w, puppet):
        puppet.bridge.forget_acks()
        with suppress(ramure.AgentError):
            while True:  # until the backlog is full
                await w.interrupt()

        @w.on("late")
        async def late() -> None: ...

        await handle.events.listen_for("agent_failed", replay=True, timeout=20)
        puppet.bridge.forget_acks(forget=False)
        puppet.bridge.drop()
        await w.events.listen_for("connected", timeout=20)
        with anyio.fail_after(20):
            await w.send("hello")
        assert "late" in puppet.bridge.tools
