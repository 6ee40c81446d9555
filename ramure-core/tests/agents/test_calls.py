"""An agent's tools, and what it asks and answers."""

import asyncio
import sys
from functools import partial
from typing import Literal

import anyio
import pytest
from pydantic import BaseModel

import ramure
from ramure import (
    agent,
    agent_process,
    current_process,
    done,
    running,
    spawn,
    wait,
)
from ramure.processes.process import Process


async def test_a_tool_call(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("add")
        async def add(a: int, b: int = 1) -> int:
            """Add."""
            return a + b

        result = await puppet.bridge.call("add", {"a": 2})
        assert (result.ok, result.text) == (True, "3")


async def test_tools_registered_before_a_message_are_visible_to_it(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("late")
        async def late() -> None: ...

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(w.send, "hello")
            message = await puppet.bridge.receive()
            assert message.text == "hello"
            assert list(puppet.bridge.tools) == ["late"]


async def test_done_in_a_handler_ends_the_process_and_still_answers(puppets):
    @agent_process
    async def main():
        w = await agent("w", harness=puppets)

        @w.on("finish")
        async def finish(summary: str) -> str:
            done(summary)
            return "Recorded."

        return await wait()

    async with running(main) as handle:
        puppet = await puppets.up("w")
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        result = await puppet.bridge.call("finish", {"summary": "all good"})
        assert (result.ok, result.text) == (True, "Recorded.")
        assert await handle == "all good"
    assert puppet.stopped


async def test_a_verdict_ends_the_turn_of_whoever_led_to_it(puppets):
    together = anyio.Event()

    @agent_process
    async def other(w):
        @w.on("other")
        async def finish_another_process() -> None:
            done()

        await wait()

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)
        handle = spawn(other, w)

        @w.on("look")
        async def look() -> None:
            await together.wait()

        @w.on("finish")
        def finish() -> None:
            done()
            together.set()

        await w.send("go")
        bridge = (await puppets.up("w")).bridge
        ends = {"other": (await bridge.call("other")).end}
        await handle

        async def call(tool):
            ends[tool] = (await bridge.call(tool)).end

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "look")
            await w.events.listen_for(
                "tool_call", where=lambda e: e.data["tool"] == "look", replay=True, timeout=20
            )
            tasks.start_soon(call, "finish")
        await wait()
        again = (await bridge.call("finish")).end
        return ends | {"again": again}

    expected = {"other": False, "look": False, "finish": True, "again": False}
    with anyio.fail_after(20):
        assert await main() == expected


async def test_wrong_calls_are_answered_with_what_to_do(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("paint")
        async def paint(colour: Literal["red", "blue"], times: int = 1) -> str:
            return colour * times

        unknown = await puppet.bridge.call("pant", {})
        assert not unknown.ok
        assert "paint" in unknown.text
        wrong = await puppet.bridge.call("paint", {"colour": "green", "tmies": 2})
        assert not wrong.ok
        for part in ("colour", "red", "blue", "tmies"):
            assert part in wrong.text


async def test_a_handler_that_raises_answers_and_the_program_goes_on(one_agent):
    async with one_agent() as (handle, w, puppet):

        @w.on("boom")
        async def boom() -> None:
            raise ValueError

        @w.on("cancelled")
        async def cancelled() -> None:
            raise asyncio.CancelledError

        @w.on("odd")
        async def odd() -> float:
            return float("nan")

        assert "ValueError" in (await puppet.bridge.call("boom")).text
        assert not (await puppet.bridge.call("cancelled")).ok
        assert (await puppet.bridge.call("odd")).ok
        assert handle.status == "running"


async def test_a_handler_that_ends_its_process_still_answers(puppets):
    @agent_process
    async def child(w):
        @w.on("leave")
        async def leave() -> None:
            sys.exit("enough")

        await wait()

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)
        handle = spawn(child, w)
        puppet = await puppets.up("w")
        await w.send("hello")
        with anyio.fail_after(20):
            result = await puppet.bridge.call("leave")
            with pytest.raises(SystemExit):
                await handle
        return result

    result = await main()
    assert not result.ok
    assert "'child'" in result.text
    assert "enough" in result.text


async def test_a_call_is_answered_whatever_happens(one_agent, monkeypatch):
    async with one_agent() as (_, w, puppet):

        @w.on("tool")
        async def tool() -> None: ...

        def broken(self, *_, **__):
            raise RuntimeError("no task today")

        monkeypatch.setattr("ramure.processes.process.Process.start", broken)
        result = await puppet.bridge.call("tool")
        assert not result.ok
        assert "no task today" in result.text


async def test_a_call_whose_process_ends_before_its_first_step_is_answered(puppets, monkeypatch):
    def start_and_end(process, *args, **kwargs):
        handling = Process.start(process, *args, **kwargs)
        process.hurry()  # as a second Ctrl-C at this very moment
        return handling

    @agent_process
    async def child(w):
        @w.on("late")
        async def late() -> str:
            return "it has begun"

        process = current_process()
        monkeypatch.setattr(process, "start", partial(start_and_end, process))
        await wait()

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)
        handle = spawn(child, w)
        await w.send("it has the tool by then")
        result = await (await puppets.up("w")).bridge.call("late")
        with pytest.raises(ramure.ProcessCancelled):
            await handle
        return result.ok, result.text

    with anyio.fail_after(20):
        assert await main() == (False, "cancelled: the process 'child' has ended")


async def test_a_slow_call_delays_no_other(one_agent):
    async with one_agent() as (_, w, puppet):
        first = anyio.Event()

        @w.on("meet")
        async def meet(second: bool) -> str:
            if second:
                first.set()
            else:
                await first.wait()
            return "met"

        with anyio.fail_after(20):
            results = await asyncio.gather(
                puppet.bridge.call("meet", {"second": False}),
                puppet.bridge.call("meet", {"second": True}),
            )
        assert [r.text for r in results] == ["met", "met"]


async def test_a_handler_may_wait_for_its_own_agents_next_event(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("listen")
        async def listen() -> str:
            event = await w.events.listen_for("note", timeout=20)
            return event.data["text"]

        async with anyio.create_task_group() as tasks:

            async def note():
                await w.events.listen_for("tool_call", replay=True, timeout=20)
                puppet.bridge.event("note", {"text": "heard"})

            tasks.start_soon(note)
            assert (await puppet.bridge.call("listen")).text == "heard"


async def test_a_handler_may_write_to_its_own_agent(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("echo")
        async def echo(text: str) -> str:
            await w.send(text)
            return "sent"

        with anyio.fail_after(20):
            assert (await puppet.bridge.call("echo", {"text": "me"})).text == "sent"
        assert (await puppet.bridge.receive()).text == "me"


async def test_aborting_a_call_cancels_its_handler(one_agent):
    async with one_agent() as (_, w, puppet):
        started, ended = anyio.Event(), anyio.Event()

        @w.on("slow")
        async def slow() -> None:
            started.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(puppet.bridge.call, "slow")
            await started.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(20):
            await ended.wait()


async def test_a_tools_timeout(one_agent):
    async with one_agent() as (_, w, puppet):

        @w.on("slow", timeout=0.05)
        async def slow() -> None:
            await asyncio.sleep(3600)

        result = await puppet.bridge.call("slow")
        assert not result.ok
        assert "0.05" in result.text


async def test_a_tool_made_outside_any_process_acts_on_its_agents(one_agent):
    async with one_agent() as (handle, w, puppet):

        @w.on("finish")
        async def finish(result: str) -> None:
            done(result)

        assert (await puppet.bridge.call("finish", {"result": "by hand"})).ok
        assert await handle == "by hand"


async def test_tools_from_within_the_process_act_on_it(puppets):
    @agent_process
    async def child(n: int) -> int:
        return n * 2

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)

        @w.on("double")
        async def double(n: int) -> int:
            return await spawn(child, n)

        @w.on("who")
        async def who() -> str:
            return current_process().name

        await wait()

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        puppet = await puppets.up("w")
        assert (await puppet.bridge.call("double", {"n": 4})).text == "8"
        assert (await puppet.bridge.call("who")).text == "main"


async def test_a_tool_need_not_be_async(puppets):
    @agent_process
    async def child() -> str:
        return "from a thread"

    @agent_process
    async def main():
        w = await agent("w", harness=puppets)

        @w.on("finish")
        def finish(summary: str) -> None:
            ramure.emit("finishing")
            handle = spawn(child)
            done((summary, handle))

        summary, handle = await wait()
        return summary, await handle

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        puppet = await puppets.up("w")
        assert (await puppet.bridge.call("finish", {"summary": "x"})).ok
        assert await handle == ("x", "from a thread")


async def test_ask_gets_a_typed_answer(one_agent):
    class Verdict(BaseModel):
        good: bool
        why: str = ""

    async with one_agent() as (_, w, puppet):

        async def play():
            message = await puppet.bridge.receive()
            puppet.bridge.taken(message)
            (tool,) = puppet.bridge.tools.values()
            assert tool.name in message.text
            wrong = await puppet.bridge.call(tool.name, {"answer": {"good": "perhaps"}})
            assert not wrong.ok
            assert (await puppet.bridge.call(tool.name, {"answer": {"good": True}})).ok

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            answer = await w.ask("Is it good?", Verdict)
        assert answer == Verdict(good=True)
        with anyio.fail_after(20):
            while puppet.bridge.tools:
                await anyio.sleep(0.01)


async def test_ask_fails_when_the_agent_goes_idle(one_agent):
    async with one_agent() as (_, w, puppet):

        async def play():
            puppet.bridge.state("busy")
            puppet.bridge.taken(await puppet.bridge.receive())
            puppet.bridge.state("idle")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            with pytest.raises(ramure.NoAnswer, match="idle"):
                await w.ask("Well?", int)


@pytest.mark.parametrize("taken", [True, False])
async def test_ask_says_that_the_model_failed(one_agent, taken):
    async with one_agent(on_failure="ignore") as (_, w, puppet):

        async def play():
            message = await puppet.bridge.receive()
            if taken:
                puppet.bridge.state("busy")
                puppet.bridge.taken(message)
            puppet.bridge.failure("401 bad key")
            if taken:
                puppet.bridge.state("idle")

        puppet.bridge.failure("an old story")
        await w.events.listen_for("model_failed", replay=True, timeout=20)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            with anyio.fail_after(20), pytest.raises(ramure.NoAnswer, match="401 bad") as caught:
                await w.ask("Well?", int)
        assert isinstance(caught.value.__cause__, ramure.ModelFailed)


async def test_ask_ends_when_the_model_stalls(one_agent):
    async with one_agent(on_failure="ignore", stall_timeout=0.5) as (_, w, puppet):
        puppet.bridge.state("busy")
        with anyio.fail_after(20), pytest.raises(ramure.NoAnswer, match=r"nothing for 0\.5 s"):
            await w.ask("Well?", int)


@pytest.mark.parametrize("message", [b"bytes", 5, None, ["a", "list"]])
async def test_a_message_is_text(one_agent, message):
    async with one_agent() as (_, w, _):
        with pytest.raises(ramure.UsageError, match=f"not a {type(message).__name__}:"):
            await w.send(message)
        with pytest.raises(ramure.UsageError, match=f"not a {type(message).__name__}:"):
            await w.ask(message, int)


async def test_ask_fails_when_time_runs_out(one_agent):
    async with one_agent() as (_, w, _):
        with pytest.raises(ramure.NoAnswer, match=r"0\.1 s"):
            await w.ask("Well?", int, timeout=0.1)
