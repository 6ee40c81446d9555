"""The contract of harnesses as a test suite, for the author of a harness to run against it.

    class TestMine(HarnessContract):
        @pytest.fixture
        def harness(self):
            return MyHarness(…)

        @pytest.fixture
        async def machine(self, tmp_path): ...

Its agents are to follow ``ramure.testing.obedient``: by themselves, or through their model, a
``ScriptedModel(obedient)`` that the fixture ``given`` leads them to. What a harness cannot
do is declared in the class's attributes and left out.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from ramure.harness import Harness
from ramure.machine import Machine
from ramure.run.protocol import Activity, Call, Cancel, Interrupt, Queued, State, Taken
from ramure.testing._stage import Stage, Started, processes_with
from ramure.testing._suite import Suite


class HarnessContract(Suite):
    """The suite.

    Attributes:
        patience: seconds after which anything that is awaited has failed.
        own_process: its agents' programs are processes of their own.
        shows: ``screen()`` shows what the agent says.
    """

    patience: ClassVar[float] = 60.0
    own_process: ClassVar[bool] = True
    shows: ClassVar[bool] = True

    @pytest.fixture
    async def harness(self) -> Harness:
        """A harness of this test's own. To be overridden."""
        raise NotImplementedError("a subclass of HarnessContract needs a fixture `harness`")

    @pytest.fixture
    async def machine(self) -> Machine:
        """A machine on this computer, destroyed afterwards. To be overridden."""
        raise NotImplementedError("a subclass of HarnessContract needs a fixture `machine`")

    @pytest.fixture
    async def given(self) -> Mapping[str, Any]:
        """Fields of every agent's ``AgentSpec``: what leads to its model. To be overridden."""
        return {}

    @pytest.fixture
    async def stage(
        self, harness: Harness, machine: Machine, given: Mapping[str, Any]
    ) -> AsyncIterator[Stage]:
        """The run's side."""
        async with Stage(harness, machine, self.patience, given) as stage:
            yield stage

    async def ends(self, agent: Started) -> None:
        """Wait for the program's end, and see that nothing of it is left once it is stopped."""
        with anyio.fail_after(self.patience):
            await agent.session.wait()
        await agent.session.stop()
        assert not processes_with(agent.spec.state_dir)

    # --- starting

    async def test_it_has_nothing_against_the_machine(
        self, harness: Harness, machine: Machine
    ) -> None:
        """``check`` finds no problem where the rest of the suite passes."""
        assert await harness.check(machine) == []

    async def test_an_agent_reports(self, stage: Stage) -> None:
        """A started agent connects and says who it is; it is idle then, and need not say so."""
        agent = await stage.start()
        ready = await agent.ready()
        assert (ready.harness, ready.problem) == (stage.harness.name, "")
        assert not agent.said(State, state="busy")

    async def test_agents_do_not_disturb_each_other(self, stage: Stage) -> None:
        """Two at once, with addresses of which one is the beginning of the other."""
        first, second = await stage.start("w1"), await stage.start("w1x")
        for agent in (first, second):
            await agent.ready()
            agent.offer("echo")
            agent.tell(f'call echo {{"text": "{agent.spec.address}"}}')
        for agent in (first, second):
            assert (await agent.says(Call)).arguments == {"text": agent.spec.address}
        await first.session.stop()
        call = await second.says(Call)
        second.answer(call.call, "still here")
        await second.idles()
        assert len(second.said(Call)) == len(first.said(Call)) == 1

    async def test_a_new_incarnation_takes_over_the_folder(self, stage: Stage) -> None:
        """After a stop an agent can be started again in the same state folder."""
        former = await stage.start()
        await former.ready()
        await former.session.stop()
        agent = await stage.start(incarnation=2)
        await agent.ready()
        await self.takes(agent, "say hello again")

    @pytest.mark.parametrize("seconds", [0.0, 0.005, 0.05, 0.5])
    async def test_a_cancelled_start_leaves_nothing(self, stage: Stage, seconds: float) -> None:
        """Wherever a start is cancelled, no process is left."""
        agent = await stage.plan()
        with anyio.move_on_after(seconds):
            await stage.launch(agent)
        if hasattr(agent, "session"):
            await agent.session.stop()
        assert not processes_with(agent.spec.state_dir)

    # --- talking

    async def takes(self, agent: Started, text: str) -> None:
        """Put a message and see it queued, taken and dealt with."""
        before = len(agent.said(State, state="idle"))
        id_ = agent.tell(text)
        await agent.says(Queued, id=id_)
        await agent.says(Taken, id=id_)
        await agent.says(State, before + 1, state="idle")

    async def test_a_message_is_queued_taken_and_answered(self, stage: Stage) -> None:
        """In this order, with ``busy`` and ``idle`` around it: busy before it is taken."""
        agent = await stage.start()
        await agent.ready()
        await self.takes(agent, "say one potato")
        heard = [type(m) for m in agent.heard if isinstance(m, Queued | Taken)]
        assert heard == [Queued, Taken]
        (taken,) = (i for i, m in enumerate(agent.heard) if isinstance(m, Taken))
        before = [m.state for m in agent.heard[:taken] if isinstance(m, State)]
        assert before[-1:] == ["busy"]
        texts = [m.data["text"] for m in agent.said(Activity, type="text")]
        assert texts == ["one potato"]
        await self.takes(agent, "say two potatoes")

    async def test_the_screen_shows_what_it_says(self, stage: Stage) -> None:
        """While it runs, and after its end."""
        self.needs("shows")
        agent = await stage.start()
        await agent.ready()
        await self.takes(agent, "say one potato")
        with anyio.fail_after(self.patience):
            while "one potato" not in await agent.session.screen():  # noqa: ASYNC110 nobody tells
                await anyio.sleep(0.05)
        await agent.session.stop()
        assert "one potato" in await agent.session.screen()

    async def test_messages_while_it_works_are_queued_at_once(self, stage: Stage) -> None:
        """A busy agent takes messages, and takes them up later, in order."""
        agent = await stage.start()
        agent.offer("slow")
        agent.tell("call slow")
        call = await agent.says(Call)
        ids = [agent.tell("say one potato"), agent.tell("say two potatoes")]
        for id_ in ids:
            await agent.says(Queued, id=id_)
        agent.answer(call.call, "at last")
        for id_ in ids:
            await agent.says(Taken, id=id_)
        assert [m.id for m in agent.said(Taken)][1:] == ids
        await agent.idles()

    async def test_a_tool_call_and_its_result(self, stage: Stage) -> None:
        """Arguments arrive whole; the result reaches the model."""
        agent = await stage.start()
        agent.offer("echo")
        agent.tell('call echo {"text": "häß \\n \\u2028 \\ud83c\\udf32"}')
        call = await agent.says(Call)
        assert (call.tool, call.arguments) == ("echo", {"text": "häß \n \u2028 \U0001f332"})
        agent.answer(call.call, "a potato")
        await agent.idles()
        await agent.says(Activity, type="text", data={"text": "done: a potato"})

    async def test_calls_of_one_turn_are_made_at_once(self, stage: Stage) -> None:
        """None waits for another's result; results may come in any order."""
        agent = await stage.start()
        agent.offer("left", "right")
        agent.tell("call left\ncall right")
        left, right = await agent.says(Call, tool="left"), await agent.says(Call, tool="right")
        assert left.call != right.call
        agent.answer(right.call, "r")
        agent.answer(left.call, "l")
        await agent.says(Activity, type="text", data={"text": "done: l r"})

    async def test_an_interrupt_aborts_the_turn(self, stage: Stage) -> None:
        """The model is left alone, open calls are cancelled, and the agent goes on."""
        agent = await stage.start()
        agent.offer("slow")
        agent.tell("call slow")
        call = await agent.says(Call)
        agent.channel.send(Interrupt())
        await agent.says(Cancel, call=call.call)
        await agent.idles()
        agent.tell("hang")
        await agent.says(State, 2, state="busy")
        agent.channel.send(Interrupt())
        await agent.idles()
        await self.takes(agent, "say still here")

    # --- ending

    async def test_stopping_leaves_nothing(self, stage: Stage) -> None:
        """``stop`` may be called again, and by two at once; ``wait`` says that it was expected."""
        agent = await stage.start()
        await agent.ready()
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.session.stop)
                tasks.start_soon(agent.session.stop)
            await agent.session.stop()
            assert (await agent.session.wait()).expected
        assert not processes_with(agent.spec.state_dir)

    async def test_stopping_ends_work(self, stage: Stage) -> None:
        """A hanging model and an open call do not keep it."""
        agent = await stage.start()
        agent.offer("slow")
        agent.tell("call slow\nsay and")
        await agent.says(Call)
        with anyio.fail_after(self.patience):
            await agent.session.stop()
        assert not processes_with(agent.spec.state_dir)

    async def test_it_stops_when_it_is_told_to(self, stage: Stage) -> None:
        """The protocol's ``stop`` ends the program."""
        agent = await stage.start()
        await agent.ready()
        agent.channel.close("it is time")
        await self.ends(agent)

    async def test_it_ends_with_its_run(self, stage: Stage) -> None:
        """The end of the run ends the program."""
        agent = await stage.start()
        await agent.ready()
        await stage.leave()
        await self.ends(agent)

    async def test_it_ends_when_the_run_is_out_of_reach(self, stage: Stage) -> None:
        """At the end of its lease, if nobody is there."""
        agent = await stage.start(route=f"unix:{stage.socket}.nobody", lease=0.5)
        await self.ends(agent)

    async def test_it_ends_when_it_is_refused(self, stage: Stage) -> None:
        """A wrong token is not tried for ever."""
        agent = await stage.start(token="not-what-the-run-expects")  # noqa: S106 wrong by purpose
        await self.ends(agent)
        assert agent.heard == []

    async def test_a_killed_program_is_noticed(self, stage: Stage) -> None:
        """By everybody who waits; and it was not expected."""
        self.needs("own_process")
        agent = await stage.start()
        pid = (await agent.ready()).pid
        endings = []

        async def wait() -> None:
            endings.append(await agent.session.wait())

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(wait)
                os.kill(pid, signal.SIGKILL)
        assert len(endings) == 2
        assert all(ending.reason and not ending.expected for ending in endings)
        await self.ends(agent)

    # --- secrets

    async def test_the_token_is_on_no_command_line(self, stage: Stage) -> None:
        """``ps`` shows no token, neither while it starts nor later."""
        agent = await stage.plan()
        seen: dict[int, str] = {}
        done = anyio.Event()

        async def watch() -> None:
            while not done.is_set():
                seen.update(processes_with(agent.spec.token, environment=False))
                await anyio.sleep(0.005)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await stage.launch(agent)
            await agent.ready()
            done.set()
        assert not seen

    async def test_its_files_are_the_owners_alone(self, stage: Stage) -> None:
        """Nobody else can read, write or enter what it keeps."""
        agent = await stage.start()
        await agent.ready()
        await self.takes(agent, "say something that is written down")
        open_to_others = [
            f"{stat.filemode(path.lstat().st_mode)} {path}"
            for path in _tree(Path(agent.spec.state_dir))
            if path.lstat().st_mode & 0o077 and not path.is_symlink()
        ]
        assert not open_to_others


def _tree(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]
