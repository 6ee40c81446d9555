"""A machine that begins without a relay, and gets one once there is a Node.js to run it."""

import shutil

import anyio
import pytest

from ramure import AgentStartFailed, agent, agent_process
from ramure.agents import lifecycle
from ramure.errors import MachineError, RelayUnavailable
from ramure.plugins import Plugins
from ramure.relay import RelayedMachine
from ramure.testing import ScriptedHarness
from ramure.testing._greeter import Greeter

HANGS = 60


class WithNode(Greeter):
    """A tool set with a Node.js: this computer's, in the place where sets have it."""

    def _write(self):
        super()._write()
        node = self.folder / "bin/node"
        node.write_text(f'#!/bin/sh\n: >"$0.used"\nexec {shutil.which("node")} "$@"\n')
        node.chmod(0o755)


@pytest.fixture
async def machine(plain):
    machine = RelayedMachine(plain, lease=20)
    yield machine
    await machine.destroy()


def opened(plain):
    """How many attaches there have been: commands leave no trace here."""
    return len(plain.attaches)


async def test_everything_goes_to_the_plain_machine_first(machine, plain, workdir):
    plain.transports = ("direct",)
    machine = RelayedMachine(plain)
    assert (machine.relay, machine.transports) == (None, ("direct",))
    await machine.write_file("file", "text")
    assert (await machine.exec("cat file")).stdout == "text"
    await machine.upload(workdir / "file", "copy")
    await machine.download("copy", workdir / "again")
    assert await machine.read_file("again") == b"text"
    async with await machine.open_process(["cat", "file"]) as process:
        assert await process.stdout.receive() == b"text"
    assert not opened(plain)


async def test_a_relay_is_started_once(machine, plain):
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(machine.start_relay)
    relay = machine.relay
    await machine.start_relay("no-such-node")
    assert machine.relay is relay
    assert machine.transports == ("relay",)
    assert (await machine.exec("echo here")).stdout == "here\n"
    assert opened(plain) == 1


async def test_a_relay_that_cannot_run_can_be_tried_again(machine):
    with pytest.raises(RelayUnavailable, match="no-such-node"):
        await machine.start_relay("no-such-node")
    assert (await machine.exec("echo here")).stdout == "here\n"
    await machine.start_relay()
    assert machine.transports == ("relay",)


async def test_equipping_starts_the_relay_on_the_sets_node(machine, tmp_path, monkeypatch):
    tools = WithNode(tmp_path / "set", name="node-1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    await machine.equip(tools)
    folder = machine.tool_folder(tools)
    assert (await machine.exec(["ls", f"{folder}/bin/node.used"])).ok
    assert machine.transports == ("relay",)
    relay = machine.relay
    await machine.equip(tools)
    assert machine.relay is relay


async def test_equipping_starts_the_relay_on_the_machines_node(machine, tmp_path):
    await machine.equip(Greeter(tmp_path / "set", name="greeter-1", there=True))
    assert machine.transports == ("relay",)


async def test_equipping_works_where_no_relay_does(machine, tmp_path):
    tools = Greeter(tmp_path / "set", name="greeter-1")  # which has no Node.js
    await machine.equip(tools)
    assert (machine.relay, machine.transports) == (None, ())
    assert (await machine.exec([f"{machine.tool_folder(tools)}/bin/hello"])).stdout == "hello\n"


async def test_a_relay_that_starts_while_the_machine_is_destroyed(machine, plain):
    async def start():
        with pytest.raises(MachineError):
            await machine.start_relay()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await anyio.sleep(0.01)
        await machine.destroy()
    assert machine.relay is None


# --- agents


class Anywhere(ScriptedHarness):
    """Its agents dial whatever address they are given, as if they were elsewhere."""

    async def check(self, machine):
        return []


def program(harness):
    @agent_process(host="bare", timeout=HANGS)
    async def main():
        return (await agent("worker", harness=harness)).machine

    return main


@pytest.fixture
def bare(monkeypatch, ramure_home):
    """The backend whose machines have no relay is installed."""
    import bare_machines

    bare_machines.asked.clear()
    monkeypatch.setattr(Plugins, "load", lambda: Plugins.of(bare=bare_machines))
    return bare_machines


async def test_a_machine_that_nothing_leads_from(bare, monkeypatch):
    async def refuse(*_, **__):
        raise RelayUnavailable("there is no Node.js", machine="bare")

    monkeypatch.setattr("ramure.relay.machine.install", refuse)
    with pytest.raises(AgentStartFailed, match=r"there is no Node\.js"):
        await program(Anywhere([]))()
    assert bare.asked == [None]


async def test_a_machine_with_a_node_of_its_own(bare):
    machine = await program(Anywhere([]))()
    assert machine.transports == ("relay",)


async def test_an_agents_machine_is_equipped_first(bare, tmp_path):
    harness = Anywhere([])
    harness.tools = WithNode(tmp_path / "set", name="node-1")
    machine = await program(harness)()
    assert bare.asked == [harness.tools]
    assert machine.transports == ("relay",)
    assert machine.tool_folder(harness.tools)


async def test_a_set_that_cannot_be_brought_fails_the_agent(bare, tmp_path, monkeypatch):
    harness = Anywhere([])
    harness.tools = WithNode(tmp_path / "set", name="node-1")
    monkeypatch.setattr(bare, "tools_dir", "/proc/tools")
    with pytest.raises(AgentStartFailed, match=r"'worker'.*cannot be brought.*/proc/tools"):
        await program(harness)()


async def test_a_machine_that_does_not_make_a_folder(bare, monkeypatch):
    monkeypatch.setattr(lifecycle, "SETTLING", 0.3)
    monkeypatch.setattr(lifecycle, "SETTLE", "sleep 3600")
    with anyio.fail_after(HANGS), pytest.raises(AgentStartFailed, match="no answer within"):
        await program(Anywhere([]))()
