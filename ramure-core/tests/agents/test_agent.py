"""What an agent is: its tools, its messages, its life and its death."""

import asyncio
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import pytest
from pydantic import BaseModel

import ramure
from ramure import (
    agent,
    agent_process,
    connect,
    current_process,
    done,
    running,
    spawn,
    wait,
)
from ramure.agents import outbox
from ramure.testing.bridge import BridgeEndedError


@asynccontextmanager
async def one_agent(puppets, **options):
    """A process with one agent ``w``, its handle, and its puppet."""

    @agent_process
    async def main():
        await agent("w", harness=puppets, **options)
        return await wait()

    async with running(main) as handle:
        await handle.events.listen_for("agent_started", replay=True, timeout=20)
        address = handle.agents["w"].address
        yield handle, handle.agents["w"], await puppets.up(address)


async def test_a_tool_call(puppets):
    async with one_agent(puppets) as (_, w, puppet):

        @w.on("add")
        async def add(a: int, b: int = 1) -> int:
            """Add."""
            return a + b

        result = await puppet.bridge.call("add", {"a": 2})
        assert (result.ok, result.text) == (True, "3")


async def test_tools_registered_before_a_message_are_visible_to_it(puppets):
    async with one_agent(puppets) as (_, w, puppet):

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


async def test_wrong_calls_are_answered_with_what_to_do(puppets):
    async with one_agent(puppets) as (_, w, puppet):

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


async def test_a_handler_that_raises_answers_and_the_program_goes_on(puppets):
    async with one_agent(puppets) as (handle, w, puppet):

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


async def test_a_call_is_answered_whatever_happens(puppets, monkeypatch):
    async with one_agent(puppets) as (_, w, puppet):

        @w.on("tool")
        async def tool() -> None: ...

        def broken(self, work, context):
            raise RuntimeError("no task today")

        monkeypatch.setattr("ramure.processes.process.Process.start", broken)
        result = await puppet.bridge.call("tool")
        assert not result.ok
        assert "no task today" in result.text


async def test_a_slow_call_delays_no_other(puppets):
    async with one_agent(puppets) as (_, w, puppet):
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


async def test_a_handler_may_wait_for_its_own_agents_next_event(puppets):
    async with one_agent(puppets) as (_, w, puppet):

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


async def test_a_handler_may_write_to_its_own_agent(puppets):
    async with one_agent(puppets) as (_, w, puppet):

        @w.on("echo")
        async def echo(text: str) -> str:
            await w.send(text)
            return "sent"

        with anyio.fail_after(20):
            assert (await puppet.bridge.call("echo", {"text": "me"})).text == "sent"
        assert (await puppet.bridge.receive()).text == "me"


async def test_aborting_a_call_cancels_its_handler(puppets):
    async with one_agent(puppets) as (_, w, puppet):
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


async def test_a_tools_timeout(puppets):
    async with one_agent(puppets) as (_, w, puppet):

        @w.on("slow", timeout=0.05)
        async def slow() -> None:
            await asyncio.sleep(3600)

        result = await puppet.bridge.call("slow")
        assert not result.ok
        assert "0.05" in result.text


async def test_a_tool_made_outside_any_process_acts_on_its_agents(puppets):
    async with one_agent(puppets) as (handle, w, puppet):

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


async def test_send_returns_once_the_bridge_has_it_and_taken_tells_the_rest(puppets):
    async with one_agent(puppets) as (_, w, puppet):
        await w.send("one")
        assert not w.idle
        taken = w.events.listen_for("taken", timeout=20)
        message = await puppet.bridge.receive()
        puppet.bridge.taken(message)
        await taken


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


async def test_ask_gets_a_typed_answer(puppets):
    class Verdict(BaseModel):
        good: bool
        why: str = ""

    async with one_agent(puppets) as (_, w, puppet):

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


async def test_ask_fails_when_the_agent_goes_idle(puppets):
    async with one_agent(puppets) as (_, w, puppet):

        async def play():
            puppet.bridge.state("busy")
            puppet.bridge.taken(await puppet.bridge.receive())
            puppet.bridge.state("idle")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            with pytest.raises(ramure.NoAnswer, match="idle"):
                await w.ask("Well?", int)


async def test_ask_fails_when_time_runs_out(puppets):
    async with one_agent(puppets) as (_, w, _):
        with pytest.raises(ramure.NoAnswer, match=r"0\.1 s"):
            await w.ask("Well?", int, timeout=0.1)


async def test_an_agent_that_dies_fails_its_process_loudly(puppets):
    async with one_agent(puppets) as (handle, w, puppet):
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


async def test_a_program_may_ignore_a_death(puppets):
    async with one_agent(puppets, on_failure="ignore") as (handle, w, puppet):
        ended = w.events.listen_for("ended", timeout=20)
        puppet.die()
        await ended
        assert handle.status == "running"
        assert w.status == "ended"


async def test_a_restarted_agent_gets_what_it_missed(puppets):
    async with one_agent(puppets, on_failure="restart") as (handle, w, puppet):

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


async def test_no_more_waits_for_an_agent_than_there_is_room_for(puppets, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_CHARACTERS", 100)
    async with one_agent(puppets) as (_, w, puppet):
        for _ in range(3):
            await w.send("x" * 60)
            with pytest.raises(ramure.AgentError, match="1 messages of 60 characters wait for it"):
                await w.send("y" * 60)
            taken = w.events.listen_for("taken", timeout=20)
            puppet.bridge.taken(await puppet.bridge.receive())
            await taken


async def test_a_turn_that_a_death_broke_off_is_gone_on_with(puppets):
    """One that remembers is told so, before what it did not take up; and one that does not."""
    async with one_agent(puppets, on_failure="restart") as (handle, w, puppet):
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


async def test_one_that_forgets_gets_the_messages_of_a_broken_turn_again(puppets):
    async with one_agent(puppets, on_failure="restart") as (_, w, puppet):
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


async def test_a_turn_that_had_ended_is_not_gone_on_with(puppets):
    async with one_agent(puppets, on_failure="restart") as (handle, w, puppet):
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


async def test_a_restart_cancels_the_open_calls_of_the_predecessor(puppets):
    async with one_agent(puppets, on_failure="restart") as (handle, w, puppet):
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
async def test_stopped_while_it_is_restarted_it_stays_stopped(puppets, pause):
    async with one_agent(puppets, on_failure="restart") as (_, w, puppet):
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


async def test_a_stop_that_fails_keeps_nothing_else_from_ending(puppets, ramure_home, monkeypatch):
    async def broken(self):
        raise FileNotFoundError("the folder is gone")

    @agent_process
    async def main():
        await agent("w", harness=puppets)
        monkeypatch.setattr(type(puppets.started["w"][0]), "stop", broken)
        return "fine"

    assert await main() == "fine"
    assert not list((ramure_home / "runtimes").iterdir())


async def test_a_message_that_is_never_taken_is_a_failure(puppets):
    async with one_agent(puppets, stall_timeout=0.5) as (handle, w, _):
        await w.send("is anybody there?")
        with anyio.fail_after(20), pytest.raises(ramure.AgentStalled):
            await handle


async def test_a_model_failure_for_good_fails_the_process(puppets):
    async with one_agent(puppets) as (handle, _, puppet):
        puppet.bridge.failure("500 again", final=False)
        puppet.bridge.failure("401 unauthorized")
        with anyio.fail_after(20), pytest.raises(ramure.ModelFailed, match="401 unauthorized"):
            await handle


async def test_a_silent_model_is_a_failure(puppets):
    async with one_agent(puppets, stall_timeout=0.3) as (handle, _, puppet):
        puppet.bridge.state("busy")
        with anyio.fail_after(20), pytest.raises(ramure.AgentStalled, match=r"0\.3 s"):
            await handle


async def test_a_tool_at_work_is_no_stall(puppets):
    async with one_agent(puppets, stall_timeout=0.3) as (handle, _, puppet):
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


async def test_nudges(puppets):
    nudge = ramure.Nudge("go on!", after=0.1, limit=2)
    async with one_agent(puppets, nudge=nudge) as (_, w, puppet):
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


async def test_an_agent_that_cannot_work_says_why(puppets):
    puppets.problem = "pi has no usable model: set a key"

    @agent_process
    async def main():
        await agent("w", harness=puppets)

    with pytest.raises(ramure.AgentStartFailed, match="no usable model"):
        await main()
    assert puppets.started["w"][0].stopped


async def test_what_a_machine_lacks_is_told_with_its_cure(puppets):
    puppets.problems = [ramure.Problem("tmux is missing", "apt-get install tmux")]

    @agent_process
    async def main():
        await agent("w", harness=puppets)

    with pytest.raises(ramure.AgentStartFailed, match=r"tmux is missing \(apt-get install tmux\)"):
        await main()


async def test_cancelling_a_start_leaves_nothing(puppets, ramure_home):
    puppets.mute = True

    @agent_process
    async def main():
        with anyio.move_on_after(0.3):
            await agent("w", harness=puppets)
        process = current_process()
        return list(process.agents), list(process.runtime.tenancies)

    assert await main() == ([], [])
    assert puppets.started["w"][0].stopped


async def test_agents_of_several_processes_may_share_a_name(puppets):
    up = []
    together = asyncio.Event()

    @agent_process
    async def job():
        up.append((await agent("worker", harness=puppets)).address)
        if len(up) == 3:
            together.set()
        await together.wait()

    @agent_process
    async def main():
        await asyncio.gather(job(), job(), job())

    await main()
    assert sorted(up) == ["worker", "worker-2", "worker-3"]


async def test_a_name_is_unique_in_its_process(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets)
        with pytest.raises(ramure.InvalidName, match="already"):
            await agent("w", harness=puppets)
        with pytest.raises(ramure.InvalidName, match="already"):
            await asyncio.gather(agent("x", harness=puppets), agent("x", harness=puppets))

    await main()


@pytest.mark.parametrize("name", ["../../x", "", "a b", ".hidden", "x" * 65, "a/b", "ü"])
async def test_names_that_could_do_harm_are_refused(puppets, name):
    @agent_process
    async def main():
        with pytest.raises(ramure.InvalidName):
            await agent(name, harness=puppets)

    await main()
    assert not puppets.started


async def test_a_name_that_begins_another_harms_nobody(puppets):
    @agent_process
    async def main():
        await agent("w1x", harness=puppets)
        await agent("w1", harness=puppets)
        return [a.status for a in current_process().agents.values()]

    assert await main() == ["idle", "idle"]


async def test_several_agents_on_one_machine(puppets, tmp_path):
    @agent_process(image=str(tmp_path))
    async def main():
        box = await ramure.machine()
        a = await agent("a", harness=puppets, machine=box)
        b = await agent("b", harness=puppets, machine=box)
        await a.write_file("f.txt", "shared")
        assert a.machine is b.machine
        with pytest.raises(ramure.UsageError, match="machine="):
            await agent("c", harness=puppets, machine=box, image=".")
        return await b.read_file("f.txt")

    assert await main() == b"shared"


async def test_cwd_and_env(puppets, tmp_path):
    (tmp_path / "sub dir").mkdir()

    @agent_process(image=str(tmp_path))
    async def main():
        w = await agent("w", harness=puppets, cwd="sub dir", env={"SECRET": "s3"})
        await w.write_file("here.txt", "x")
        return (await w.exec("pwd -P")).stdout.strip()

    where = await main()
    assert where == str((tmp_path / "sub dir").resolve())
    assert (tmp_path / "sub dir" / "here.txt").read_text() == "x"
    spec = puppets.started["w"][0].spec
    assert spec.cwd == where
    assert spec.env == {"SECRET": "s3"}
    assert "s3" not in repr(spec)
    assert spec.token not in repr(spec)


async def test_a_missing_working_directory_is_told(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets, cwd="/no/such/dir")

    with pytest.raises(ramure.AgentStartFailed, match="/no/such/dir"):
        await main()


async def test_usage_is_added_up(puppets):
    async with one_agent(puppets) as (_, w, puppet):
        for _ in range(2):
            puppet.bridge.usage(model="m", input=10, output=5, cost=0.25)
        with anyio.fail_after(20):
            while w.usage.input < 20:
                await anyio.sleep(0.01)
        assert w.usage.cost == 0.5


async def test_attach_gives_an_agent_the_endpoints_of_a_process(puppets):
    @agent_process
    async def pool():
        tasks = []

        @ramure.expose
        async def add_task(spec: str) -> int:
            """Add a task."""
            tasks.append(spec)
            return len(tasks)

        @ramure.expose
        async def close() -> None:
            done(tasks)

        return await wait()

    @agent_process
    async def main():
        handle = spawn(pool)
        monitor = await agent("monitor", harness=puppets)
        await handle.attach(monitor, prefix="pool_", only=["add_task"])
        await monitor.send("go")
        puppet = await puppets.up("monitor")
        assert list(puppet.bridge.tools) == ["pool_add_task"]
        assert puppet.bridge.tools["pool_add_task"].description == "Add a task."
        assert (await puppet.bridge.call("pool_add_task", {"spec": "x"})).text == "1"
        assert not (await puppet.bridge.call("pool_add_task", {"spce": "x"})).ok
        with pytest.raises(ramure.EndpointError):
            await handle.attach(monitor, only=["nix"])
        await handle.call("close")
        late = await puppet.bridge.call("pool_add_task", {"spec": "x"})
        assert not late.ok
        assert "ended" in late.text
        return await handle

    assert await main() == ["x"]


class TestPeers:
    """Built-in tools work along edges and in their direction, and nowhere else."""

    @staticmethod
    async def _pair(puppets, direction, tmp_path):
        a_dir, b_dir = tmp_path / "a", tmp_path / "b"
        a_dir.mkdir()
        b_dir.mkdir()
        a = await agent("a", harness=puppets, image=str(a_dir))
        b = await agent("b", harness=puppets, image=str(b_dir))
        connect(a, b, direction=direction)
        return (await puppets.up("a")).bridge, (await puppets.up("b")).bridge

    async def test_messages(self, puppets, tmp_path):
        @agent_process
        async def main():
            a, b = await self._pair(puppets, "both", tmp_path)
            assert (await a.call("message", {"receiver": "b", "message": "hi"})).ok
            assert (await b.receive()).text == "[From: a] hi"
            assert (await b.call("message", {"receiver": "a", "message": "ho"})).ok
            assert (await a.receive()).text == "[From: b] ho"

        await main()

    async def test_direction(self, puppets, tmp_path):
        @agent_process
        async def main():
            a, b = await self._pair(puppets, "forward", tmp_path)
            (tmp_path / "a" / "f").write_text("from a")
            assert (await a.call("message", {"receiver": "b", "message": "hi"})).ok
            assert not (await b.call("message", {"receiver": "a", "message": "hi"})).ok
            assert (await b.call("download_file", {"sender": "a", "path": "f"})).ok
            assert not (await a.call("download_file", {"sender": "b", "path": "f"})).ok
            refused = await a.call("message", {"receiver": "c", "message": "hi"})
            assert not refused.ok
            assert "b" in refused.text
            await anyio.sleep(0.05)
            return set(a.tools), set(b.tools)

        tools = await main()
        assert tools == ({"message", "send_file"}, {"download_file"})
        assert (tmp_path / "b" / "f").read_text() == "from a"

    async def test_files(self, puppets, tmp_path):
        data = bytes(range(256)) * 40_000

        @agent_process
        async def main():
            a, _ = await self._pair(puppets, "both", tmp_path)
            (tmp_path / "a" / "big").write_bytes(data)
            sent = await a.call("send_file", {"receiver": "b", "path": "big", "dest_path": "x/y"})
            assert sent.ok, sent.text
            missing = await a.call("send_file", {"receiver": "b", "path": "nix"})
            assert not missing.ok
            assert "nix" in missing.text

        await main()
        assert (tmp_path / "b" / "x" / "y").read_bytes() == data

    async def test_reserved_names(self, puppets):
        async with one_agent(puppets) as (_, w, _):
            with pytest.raises(ramure.InvalidTool, match="built-in"):
                w.on("message")

    async def test_connect_wants_two(self, puppets):
        @agent_process
        async def main():
            a = await agent("a", harness=puppets)
            with pytest.raises(ramure.UsageError, match="itself"):
                connect(a, a)
            with pytest.raises(ramure.UsageError, match="backward"):
                connect(a, await agent("b", harness=puppets), direction="backward")

        await main()
