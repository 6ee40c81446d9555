"""The real pi in the real tmux, with a scripted model."""
# ruff: noqa: ASYNC240  small local files; the loop has nothing else to do

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from ramure.backends.local import LocalBackend
from ramure.errors import AgentStartFailed
from ramure.harnesses.pi import harness, remote, tmux
from ramure.run import protocol
from ramure.testing import Fail, Hang, ToolCall
from ramure.transports.direct import DirectRoute
from ramure.values import MachineRef

PROGRAM = Path(__file__).with_name("program.py")

pytestmark = pytest.mark.pi

HANGS = 60
"""Seconds after which a test that waits has failed."""

ATTEMPTS = {"RAMURE_TEST_PI_22": 1, "RAMURE_TEST_PI_20": 3}
"""Requests that pi's client makes before pi learns of a failure and tries again by itself."""


async def test_works_from_a_message_to_its_result(make_agent):
    async with make_agent(system_prompt="You are agent seven.") as agent:
        (agent.folder / "work dir" / ".pi" / "extensions").mkdir(parents=True)
        agent.script = [ToolCall("finish", text="a summary"), "all done"]
        await agent.start()
        ready = await agent.run.wait_for(protocol.Ready)
        assert (ready.harness, ready.model, ready.problem) == ("pi", "scripted/scripted", "")
        agent.run.offer("finish")
        agent.run.say("m1", "do the work")
        call = await agent.run.wait_for(protocol.Call)
        assert (call.tool, call.arguments) == ("finish", {"text": "a summary"})
        agent.run.answer(call, "Recorded.")
        await agent.run.wait_idle()
        assert agent.run.ids(protocol.Queued) == ["m1"]
        assert agent.run.ids(protocol.Taken) == ["m1"]
        assert agent.said() == ["do the work"]
        assert "You are agent seven." in agent.model.requests[0].system
        assert [result.text for result in agent.model.requests[1].results] == ["Recorded."]
        used = agent.run.of(protocol.Used)
        assert len(used) == 2
        assert all(one.input > 0 and one.output > 0 and one.cost > 0 for one in used)


async def test_takes_every_message_once_and_in_order_while_busy(make_agent):
    async with make_agent() as agent:
        agent.script = [ToolCall("ask", text="1"), ToolCall("ask", text="2")]
        await agent.start()
        agent.run.offer("ask")
        agent.run.say("m0", "begin")
        first = await agent.run.wait_for(protocol.Call)
        names = [f"m{i}" for i in range(1, 21)]
        for name in names[:10]:
            agent.run.say(name, f"message {name}")
        agent.run.answer(first)
        second = await agent.run.wait_for(protocol.Call, 2)
        # What came in the middle of the turn was part of the next model call.
        assert agent.said(1) == ["begin", "message m1"]
        for name in names[10:]:
            agent.run.say(name, f"message {name}")
        agent.run.answer(second)
        await agent.run.wait_for(protocol.Taken, 21)
        await agent.run.wait_idle()
        assert agent.run.ids(protocol.Queued) == ["m0", *names]
        assert agent.run.ids(protocol.Taken) == ["m0", *names]
        assert agent.said() == ["begin", *(f"message {name}" for name in names)]


async def test_reload_and_new_repeat_nothing_and_lose_nothing(make_agent):
    async with make_agent() as agent:
        agent.script = [ToolCall("ask", text="1"), "done 1"]
        await agent.start()
        agent.run.offer("ask")
        agent.run.say("m1", "first")
        call = await agent.run.wait_for(protocol.Call)
        agent.run.answer(call)
        await agent.run.wait_idle()

        agent.type("/reload")
        await agent.run.wait_for(protocol.Activity, type="session")
        agent.script = [ToolCall("ask", text="2"), "done 2"]
        agent.run.say("m2", "second")
        call = await agent.run.wait_for(protocol.Call, 2)
        assert agent.said() == ["first", "second"]

        # In the middle of a call, with a message waiting: the session is replaced.
        agent.run.say("m3", "third")
        agent.type("/new")
        await agent.run.wait_for(protocol.Cancel, call=call.call)
        await agent.run.wait_for(protocol.Activity, 2, type="session")
        agent.script = ["done 3"]
        await agent.run.wait_for(protocol.Taken, 3)
        await agent.run.wait_idle()
        assert agent.run.ids(protocol.Taken) == ["m1", "m2", "m3"]
        assert agent.said() == ["third"]
        assert len(agent.run.of(protocol.Call)) == 2
        assert agent.run.links == [True]
        assert not agent.run.of(protocol.Bye)


async def test_escape_is_no_failure_and_loses_no_message(make_agent):
    async with make_agent() as agent:
        agent.script = [ToolCall("ask", text="1")]
        await agent.start()
        agent.run.offer("ask")
        agent.run.say("m1", "first")
        call = await agent.run.wait_for(protocol.Call)
        agent.run.say("m2", "second")
        agent.script = ["done"]
        agent.tmux("send-keys", "-t", "=w1:", "Escape")
        await agent.run.wait_for(protocol.Cancel, call=call.call)
        await agent.run.wait_for(protocol.Taken, 2)
        await agent.run.wait_idle()
        assert agent.said()[-1] == "second"
        assert not agent.run.of(protocol.Failure)


async def test_an_interrupt_ends_the_turn(make_agent):
    async with make_agent() as agent:
        agent.script = [Hang()]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        agent.run.send(protocol.Interrupt())
        await agent.run.wait_idle()
        assert not agent.run.of(protocol.Failure)


async def test_a_refused_key_is_a_final_failure(make_agent):
    async with make_agent() as agent:
        agent.script = [Fail(401)]
        await agent.start()
        agent.run.say("m1", "first")
        failure = await agent.run.wait_for(protocol.Failure, final=True)
        await agent.run.wait_idle()
        assert "401" in failure.message
        assert len(agent.model.requests) == 1


async def test_an_error_that_pi_gets_over_is_no_final_failure(make_agent, pi):
    async with make_agent() as agent:
        agent.script = [Fail(500)] * ATTEMPTS[pi] + ["done"]
        await agent.start()
        agent.run.say("m1", "first")
        failure = await agent.run.wait_for(protocol.Failure)
        assert not failure.final
        await agent.run.wait_for(protocol.Activity, type="text")
        await agent.run.wait_idle()
        assert not agent.run.of(protocol.Failure, final=True)
        assert [state.state for state in agent.run.of(protocol.State)] == ["busy", "idle"]


async def test_an_error_that_stays_is_a_final_failure(make_agent, pi):
    async with make_agent() as agent:
        agent.script = [Fail(500)] * 4 * ATTEMPTS[pi]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Failure, final=True)
        await agent.run.wait_idle()
        assert len(agent.model.requests) == 4 * ATTEMPTS[pi]
        assert len(agent.run.of(protocol.Failure, final=False)) == 3


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"models": "{}"}, "/login"),
        ({"models": '{"providers": {{'}, "models.json"),
    ],
)
async def test_says_that_it_has_no_usable_model(make_agent, fields, says):
    env = {name: "" for name in os.environ if name.endswith("_API_KEY")}
    async with make_agent(env=env, **fields) as agent:
        await agent.start()
        ready = await agent.run.wait_for(protocol.Ready)
        assert says in ready.problem
        agent.run.say("m1", "first")
        assert (await agent.run.wait_for(protocol.Failure)).final
        assert not agent.run.of(protocol.Taken)


async def test_says_that_the_wanted_model_is_not_there(make_agent):
    async with make_agent(model="nobody/nothing") as agent:
        await agent.start()
        said = []
        async with anyio.create_task_group() as tasks:

            async def bridge():
                said.append((await agent.run.wait_for(protocol.Ready)).problem)
                tasks.cancel_scope.cancel()

            async def end():
                said.append((await agent.session.wait()).screen)
                tasks.cancel_scope.cancel()

            tasks.start_soon(bridge)
            tasks.start_soon(end)
        # Some versions of pi end, some would go on with another model.
        assert "nobody/nothing" in said[0]


async def test_tools_come_and_go(make_agent):
    async with make_agent() as agent:
        await agent.start()
        agent.run.offer("one")
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        await agent.run.wait_idle()
        agent.run.offer("two")
        agent.run.say("m2", "second")
        await agent.run.wait_for(protocol.Taken, 2)
        await agent.run.wait_idle()
        names = [request.tool_names for request in agent.model.requests]
        assert "one" in names[0]
        assert "two" not in names[0]
        assert "two" in names[1]
        assert "one" not in names[1]
        assert "bash" in names[1]


async def test_a_call_outlives_its_connection(make_agent):
    async with make_agent() as agent:
        agent.script = [ToolCall("ask", text="1"), "done"]
        await agent.start()
        agent.run.offer("ask")
        agent.run.say("m1", "first")
        call = await agent.run.wait_for(protocol.Call)
        agent.run.cut()
        agent.run.answer(call, "it did not work", ok=False)
        await agent.run.wait_idle()
        assert agent.run.links == [True, False, True]
        assert [r.text for r in agent.model.requests[1].results] == ["it did not work"]


async def test_a_result_may_end_the_turn(make_agent):
    async with make_agent() as agent:
        agent.script = [ToolCall("finish", text="1"), "too much"]
        await agent.start()
        agent.run.offer("finish")
        agent.run.say("m1", "first")
        call = await agent.run.wait_for(protocol.Call)
        agent.run.answer(call, end=True)
        await agent.run.wait_idle()
        assert len(agent.model.requests) == 1


async def test_tells_that_pi_was_killed(make_agent):
    async with make_agent() as agent:
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        os.kill(agent.pi_pid(), signal.SIGKILL)
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert (ending.exit_code, ending.expected) == (-signal.SIGKILL, False)
        assert "SIGKILL" in ending.reason


@pytest.mark.parametrize("victim", ["kill-server", "kill-session"])
async def test_tells_that_tmux_was_killed(make_agent, victim):
    async with make_agent() as agent:
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        shown = await agent.session.screen()
        agent.tmux(*([victim] if victim == "kill-server" else [victim, "-t", "=w1"]))
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert not ending.expected
        assert ending.screen == shown
        assert "tmux" in ending.reason


async def test_tells_that_a_person_quit_pi(make_agent):
    async with make_agent() as agent:
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        agent.type("/quit")
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert (ending.exit_code, ending.reason) == (0, "pi was quit")
        await agent.run.wait_for(protocol.Bye)


async def test_a_pi_that_cannot_start_leaves_its_words(make_agent):
    async with make_agent() as agent:
        agent.spec = replace(agent.spec, options={"flags": ["--mode", "nonsense", "-zzz"]})
        await agent.start()
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert ending.exit_code == 1
        assert "-zzz" in ending.screen


async def test_stop_leaves_nothing(make_agent):
    async with make_agent() as agent:
        child = "sleep 600 & setsid sleep 601 & (setsid sleep 602 &) ; echo started"
        agent.script = [ToolCall("bash", command=child), "done"]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_idle()
        assert len(agent.processes()) >= 3
        socket = Path(agent.session.describe()["tmux_socket"])
        assert socket.exists()
        with anyio.fail_after(HANGS):
            await agent.session.stop()
            await agent.session.stop()
            ending = await agent.session.wait()
        assert ending.expected
        assert agent.processes() == []
        assert not socket.exists()


async def test_two_agents_share_a_machine(make_agent):
    async with make_agent() as agent:
        await agent.start()
        own = Path(agent.machine.state_dir) / "w1x"
        own.mkdir(mode=0o700)
        spec = replace(agent.spec, address="w1x", state_dir=str(own))
        route = DirectRoute(f"unix:{agent.folder}/nobody")
        other = await agent.harness.start(agent.machine, spec, route)
        await agent.session.stop()
        with anyio.move_on_after(1):
            pytest.fail(f"the other one ended too: {await other.wait()}")
        await other.stop()


async def test_a_restarted_agent_remembers(make_agent):
    async with make_agent() as agent:
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        await agent.run.wait_idle()
        await agent.session.stop()
        agent.again(incarnation=2)
        await agent.start()
        agent.run.offer("ask")
        agent.run.say("m2", "second")
        await agent.run.wait_for(protocol.Taken)
        await agent.run.wait_idle()
        assert agent.said() == ["first", "second"]
        assert "ask" in agent.model.requests[-1].tool_names


async def test_secrets_stay_secret(make_agent):
    env = {"SOME_KEY": "key-of-the-model"}
    async with make_agent(env=env, system_prompt="x" * 300_000) as agent:
        agent.script = [ToolCall("bash", command="env | grep -v _KEY"), "done"]
        await agent.start()
        lines = command_lines()
        assert any(agent.spec.state_dir.encode() in line for line in lines)
        agent.run.say("m1", "first")
        await agent.run.wait_idle()
        lines += command_lines()
        assert not any(b"token-of-the-agent" in line for line in lines)
        assert not any(b"key-of-the-model" in line for line in lines)
        (shown,) = agent.model.requests[1].results
        assert "PI_OFFLINE" in shown.text
        assert "token-of-the-agent" not in shown.text
        own = Path(agent.spec.state_dir)
        assert all(path.stat().st_mode & 0o077 == 0 for path in own.rglob("*"))
        assert not any(b"token-of-the-agent" in path.read_bytes() for path in files_in(own))
        assert not any(b"key-of-the-model" in path.read_bytes() for path in files_in(own))


async def test_variables_that_a_shell_has_for_itself(make_agent, tmp_path, monkeypatch):
    """They reach what pi starts, also where ``sh`` is bash, which ends over such an export."""
    (tmp_path / "sh").symlink_to(shutil.which("bash"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    env = {"UID": "of mine", "EUID": "1", "PLAIN": "'$5'\n\\6"}
    async with make_agent(env=env) as agent:
        agent.script = [ToolCall("bash", command="env -0 | tr '\\n\\0' ' \\n'"), "done"]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_idle()
        (shown,) = agent.model.requests[1].results
        given = dict(line.partition("=")[::2] for line in shown.text.splitlines())
        assert env.items() <= (given | {"PLAIN": given["PLAIN"].replace(" ", "\n")}).items()
        assert not any(name.startswith("RAMURE_AS_") for name in given)


async def test_ends_by_itself_once_its_run_is_gone(make_agent):
    async with make_agent() as agent:
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        (agent.folder / "run.sock").unlink()
        agent.run.cut()
        with anyio.fail_after(HANGS):
            ending = await agent.session.wait()
        assert ending.exit_code == 0


async def test_goes_on_when_it_is_the_run_that_is_stopped(make_agent):
    async with make_agent(lease=0.5) as agent:
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        # Who still accepts connections is alive, though it answers none.
        agent.run.listener.admit = lambda connection, hello: connection.close() or agent.run.channel
        agent.run.cut()
        with anyio.move_on_after(3):
            pytest.fail(f"it ended: {await agent.session.wait()}")


@pytest.mark.parametrize("stopped", [False, True], ids=["works", "hangs"])
async def test_a_killed_program_takes_its_agents_along(make_agent, stopped):
    """Without its own keeper, which is another part; even where pi itself cannot end any more."""
    async with make_agent() as agent:
        done = await anyio.run_process(
            [sys.executable, PROGRAM, str(agent.folder), str(stopped)], check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        left = json.loads(done.stdout)
        try:
            with anyio.fail_after(HANGS):
                while agent.processes(left["run"]) or left_of(left):
                    await anyio.sleep(0.1)
        finally:
            await LocalBackend().destroy(MachineRef(**left["ref"]))


async def test_works_on_a_machine_that_is_elsewhere(make_agent, pi, monkeypatch):
    """As far as a machine without the tool set goes, this computer can be one."""
    async with make_agent() as agent:
        node = Path(os.environ["RAMURE_PI"]).parents[1] / ".bin"
        monkeypatch.setenv("PATH", f"{node}:{os.environ['PATH']}")
        monkeypatch.setattr(agent.machine, "here", False, raising=False)
        assert await agent.harness.check(agent.machine) == []
        route = DirectRoute(f"unix:{agent.folder}/run.sock")
        agent.session = await agent.harness.start(agent.machine, agent.spec, route)
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        await agent.run.wait_idle()
        assert agent.said() == ["first"]


async def test_says_what_is_missing_elsewhere(make_agent, monkeypatch):
    async with make_agent() as agent:
        monkeypatch.setattr(agent.machine, "here", False, raising=False)
        monkeypatch.setenv("RAMURE_PI", "/nowhere/pi")
        (problem,) = await agent.harness.check(agent.machine)
        assert "/nowhere/pi" in problem.what


async def test_reaches_the_run_by_websocket(make_agent, pi):
    async with make_agent() as agent:
        host, port = await agent.run.listener.open_websocket("127.0.0.1", 0)
        route = DirectRoute(f"ws://{host}:{port}")
        if pi == "RAMURE_TEST_PI_20":  # whose Node.js has no WebSocket
            with pytest.raises(AgentStartFailed, match=r"Node\.js v20\..*22 or newer"):
                await agent.harness.start(agent.machine, agent.spec, route)
            return
        agent.session = await agent.harness.start(agent.machine, agent.spec, route)
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        agent.run.cut()
        await agent.run.wait_idle()
        agent.run.say("m2", "second")
        await agent.run.wait_for(protocol.Taken, 2)
        assert agent.run.links[:3] == [True, False, True]


async def test_ends_when_it_is_told_to(make_agent):
    async with make_agent() as agent:
        agent.script = [Hang()]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        agent.run.send(protocol.Stop(reason="it is enough"))
        with anyio.fail_after(HANGS):
            await agent.session.wait()
        assert (await agent.run.wait_for(protocol.Bye)).reason == "it is enough"


class Stuck:
    """A machine on which some commands hang, or take for ever to be copied to."""

    here = False

    def __init__(self, machine, word):
        self._machine, self.word, self.hung = machine, word, 0

    def __getattr__(self, name):
        return getattr(self._machine, name)

    async def exec(self, command, **options):
        if self.word and self.word in command:
            self.hung += 1
            command = ["sleep", "3600"]
        return await self._machine.exec(command, **options)

    async def upload(self, local, remote):
        if self.word == "upload":
            self.hung += 1
            await anyio.sleep_forever()
        await self._machine.upload(local, remote)


async def test_ends_all_that_it_started_though_tmux_does_not_answer(make_agent):
    async with make_agent() as agent:
        agent.machine = Stuck(agent.machine, "")
        agent.machine.here = True
        await agent.start()
        await agent.run.wait_for(protocol.Ready)
        agent.machine.word = "-S"  # whatever tmux is to do
        with anyio.fail_after(HANGS):
            await agent.session.stop()
        assert agent.machine.hung == 2
        assert not agent.processes()


async def test_what_kept_it_from_starting_is_told_though_it_cannot_be_ended(
    make_agent, monkeypatch
):
    async def refuse(self, *_):
        raise AgentStartFailed("tmux: no server")

    monkeypatch.setattr(tmux.TmuxServer, "start", refuse)
    monkeypatch.setattr(harness, "END_WITHIN", 0.5)
    async with make_agent() as agent:
        agent.machine = Stuck(agent.machine, "15")  # end.sh's patience
        agent.machine.here = True
        with anyio.fail_after(HANGS), pytest.raises(AgentStartFailed, match="tmux: no server"):
            await agent.start()
        assert agent.machine.hung == 1


async def test_the_bridge_cannot_be_copied_for_ever(make_agent, monkeypatch):
    monkeypatch.setattr(remote, "PUT_WITHIN", 0.3)
    async with make_agent() as agent:
        node = Path(os.environ["RAMURE_PI"]).parents[1] / ".bin"
        monkeypatch.setenv("PATH", f"{node}:{os.environ['PATH']}")
        agent.machine = Stuck(agent.machine, "upload")
        with anyio.fail_after(HANGS), pytest.raises(AgentStartFailed, match="bridge could not be"):
            await agent.start()


async def test_machines_do_not_wait_for_each_other(make_agent, monkeypatch):
    node = Path(os.environ["RAMURE_PI"]).parents[1] / ".bin"
    monkeypatch.setenv("PATH", f"{node}:{os.environ['PATH']}")
    async with make_agent() as agent, make_agent() as other:
        other.harness, other.machine = agent.harness, Stuck(other.machine, "")
        agent.machine = Stuck(agent.machine, "upload")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.start)
            with anyio.fail_after(HANGS):
                while not agent.machine.hung:
                    await anyio.sleep(0.01)
                await other.start()
                await other.run.wait_for(protocol.Ready)
            tasks.cancel_scope.cancel()


def left_of(run):
    """What is left of a killed program's tmux server and of whoever looks after it."""
    socket = Path(run["tmux"])
    about = (run["run"].encode(), os.fsencode(socket))
    titles = [line for line in command_lines() if any(word in line for word in about)]
    return [socket] * socket.exists() + titles


def command_lines():
    """Those of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes())
    return found


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]
