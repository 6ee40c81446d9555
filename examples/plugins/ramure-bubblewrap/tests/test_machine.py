"""Sandboxes keep the contract of machines; and what is theirs alone."""

import os
import signal
from pathlib import Path

import anyio
import psutil
import pytest

from ramure.errors import MachineGone, MachineStartFailed, ToolSetUnavailable
from ramure.testing.machines import MachineContract
from ramure.toolset import ToolSet
from ramure.values import Host
from ramure_bubblewrap import BubblewrapImage
from ramure_bubblewrap.backend import BubblewrapBackend

pytestmark = pytest.mark.anyio

NETWORK = str(Path("/proc/self/ns/net").readlink())
ADMIN = 1 << 21  # a capability


# --8<-- [start:contract]
class TestContract(MachineContract):
    @pytest.fixture
    async def machine(self, make):
        return await make()


# --8<-- [end:contract]


async def test_it_sees_programs_and_its_own_folders_and_nothing_else(make, tmp_path):
    (tmp_path / "secret").write_text("secret")
    machine = await make()
    for path in (tmp_path, "/root/.ssh", "/etc/shadow", os.environ["RAMURE_HOME"]):
        assert not (await machine.exec(["ls", str(path)])).ok
    for path in ("/usr/here", "/etc/passwd", "/lib/here"):
        assert not (await machine.exec(f"echo x >>{path}")).ok
    assert (await machine.exec("ls -A; ls -A ~")).stdout == ""


async def test_nothing_of_the_program_is_in_its_environment(make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    machine = await make(BubblewrapImage(env={"KEPT": "by the image"}))
    everybodys = await machine.exec("env; cat /proc/*/environ")
    assert "KEPT=by the image" in everybodys.stdout
    assert "sk-secret" not in everybodys.stdout


async def test_it_has_processes_of_its_own(make):
    machine = await make()
    seen = (await machine.exec("ps -A -o comm=")).stdout.split()
    assert set(seen) <= {"sh", "cat", "bash", "ps"}
    assert not (await machine.exec(["kill", "-0", str(os.getpid())])).ok


async def test_its_user_has_no_rights_over_it(make):
    machine = await make()
    shown = await machine.exec("grep CapBnd /proc/self/status", check=True)
    assert int(shown.stdout.split()[1], 16) & ADMIN == 0
    assert not (await machine.exec("mount -o remount,bind,rw /usr")).ok


async def test_a_network_only_where_it_is_asked_for(make):
    interfaces = "tail -n +3 /proc/net/dev | cut -d: -f1"
    assert (await (await make()).exec(interfaces)).stdout.split() == ["lo"]
    shared = await make(BubblewrapImage(network=True))
    assert (await shared.exec("readlink /proc/self/ns/net")).stdout.strip() == NETWORK


async def test_a_folder_of_this_computer_to_work_in(make, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/given").write_text("given")
    work = tmp_path / "work"
    work.mkdir()
    machine = await make(BubblewrapImage(work, readable=[tmp_path / "data"]))
    await machine.exec(f"cp {tmp_path}/data/given . && rm {tmp_path}/data/given")
    assert (work / "given").read_text() == "given"
    assert (tmp_path / "data/given").exists()
    await machine.destroy()
    assert (work / "given").exists()


class Greeter(ToolSet):
    """What some agent needs: a program that greets."""

    name = "greeter-1"

    def __init__(self, folder):
        self.folder = folder

    async def look(self, machine):
        return False

    async def assemble(self, platform, progress=print):
        if self.folder is None:
            raise ToolSetUnavailable("there is none")
        return self.folder


async def test_what_agents_need_is_there_and_cannot_be_changed(make, tmp_path):
    (tmp_path / "greet").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "greet").chmod(0o755)
    tools = Greeter(tmp_path)
    machine = await make(tools=tools)
    await machine.equip(tools)
    folder = machine.tool_folder(tools)
    assert (await machine.exec([f"{folder}/greet"])).stdout == "hello\n"
    assert not (await machine.exec(["touch", f"{folder}/more"])).ok


async def test_a_machine_without_what_agents_need(make):
    machine = await make(tools=Greeter(None))
    assert machine.mounted_tools == {}
    assert (await machine.exec("true")).ok


async def test_what_bubblewrap_refuses_is_told(make, tmp_path):
    with pytest.raises(MachineStartFailed, match=r"nowhere.*ramure doctor bubblewrap"):
        await make(BubblewrapImage(readable=[tmp_path / "nowhere"]))


async def test_another_program_finds_attaches_and_removes_it(make):
    machine = await make()
    another = BubblewrapBackend()
    (ref,) = await another.find({"ramure.run": "r"}, host=Host("bubblewrap"))
    assert ref == machine.ref
    attached = await another.attach(ref)
    await attached.write_file("file", "x")
    assert await machine.read_file("file") == b"x"
    await another.destroy(ref)
    with pytest.raises(MachineGone):
        await another.attach(ref)
    with pytest.raises(MachineGone):
        await machine.exec("true")


async def test_a_sandbox_that_was_killed_is_gone(make):
    machine = await make()
    os.kill(machine._sandbox.pid, signal.SIGKILL)
    with anyio.fail_after(30):
        while machine._sandbox.pid in psutil.pids():
            await anyio.sleep(0.01)
    with pytest.raises(MachineGone):
        await machine.exec("true")


async def test_a_command_that_handles_a_signal_ends_as_it_likes(make):
    machine = await make()
    command = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    async with await machine.open_process(["sh", "-c", command]) as process:
        await process.stdout.receive()
        await process.signal(signal.SIGTERM)
        with anyio.fail_after(30):
            assert await process.wait() == 7
