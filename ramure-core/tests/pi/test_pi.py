"""The real pi in the real tmux, with a scripted model."""

import pytest

from ramure.run import protocol

pytestmark = pytest.mark.pi


async def test_works_from_a_message_to_its_result(make_agent):
    async with make_agent(system_prompt="You are agent seven.") as agent:
        (agent.folder / "work dir" / ".pi" / "extensions").mkdir(parents=True)
        agent.model.script = [{"finish": {"text": "a summary"}}, "all done"]
        await agent.start()
        ready = await agent.run.wait_for(protocol.Ready)
        assert (ready.harness, ready.model, ready.problem) == ("pi", "scripted/scripted", "")
        await agent.run.offer("finish")
        await agent.run.say("m1", "do the work")
        call = await agent.run.wait_for(protocol.Call)
        assert (call.tool, call.arguments) == ("finish", {"text": "a summary"})
        await agent.run.send(protocol.Result(call=call.call, ok=True, text="Recorded."))
        await agent.run.wait_idle()
        assert [m.id for m in agent.run.of(protocol.Queued)] == ["m1"]
        assert [m.id for m in agent.run.of(protocol.Taken)] == ["m1"]
        assert agent.model.said() == ["do the work"]
        assert "You are agent seven." in str(agent.model.requests[0]["messages"][0])
        (result,) = [m for m in agent.model.requests[1]["messages"] if m["role"] == "tool"]
        assert "Recorded." in str(result["content"])
        assert sum(used.input for used in agent.run.of(protocol.Used)) == 20
