"""What ends a sandbox (its program, keeper, watchdog, timeout), and what is kept of it."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import pytest

from ramure import agent_process, machine
from ramure.errors import MachineGone
from ramure.testing._greeter import Greeter
from ramure_modal import ModalImage, pulse
from ramure_modal.errors import SandboxExpired

HANGS = 60


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.1)


# --- the lease


async def test_the_watchdog_ends_what_nobody_wants(make, cloud):
    box = await make(ModalImage("bare:1", lease=2))
    assert cloud.alive()
    box._pulse.drop(box)  # as if the thread had died with the program
    await until(lambda: not cloud.alive())
    with pytest.raises(MachineGone, match="has ended"):
        await box.exec("true")


async def test_a_blocked_program_is_not_a_dead_one(make):
    box = await make(ModalImage("python:3.12", lease=3))
    async with await box.open_process("echo up; read -r line; echo $line") as process:
        assert await process.stdout.receive() == b"up\n"
        time.sleep(8)  # noqa: ASYNC251 longer than the lease, and than the relay's
        await process.stdin.send(b"still here\n")
        assert await process.stdout.receive() == b"still here\n"


async def test_a_sign_of_life_that_hangs_holds_up_no_other(make, cloud):
    box = await make(ModalImage("bare:1", lease=4))
    cloud("fault", method="TaskExecStart", delay=12, count=1)
    await anyio.sleep(8)
    assert (await box.exec("echo here")).stdout == "here\n"


async def test_it_lives_longer_than_its_lease(make):
    box = await make(ModalImage("bare:1", lease=2))
    await anyio.sleep(5)
    assert (await box.exec("echo here")).stdout == "here\n"


PROGRAM = textwrap.dedent(
    """
    import asyncio
    from ramure import ModalImage, agent_process, machine

    @agent_process
    async def main():
        box = await machine(image=ModalImage("bare:1", lease=LEASE))
        print(box.name, flush=True)
        await box.exec("sleep 1000")

    asyncio.run(main())
    """
)


class Program:
    """A program in a process of its own, with a sandbox."""

    def __init__(self, lease):
        text = PROGRAM.replace("LEASE", str(lease))
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True
        )
        self.machine = self.process.stdout.readline().strip()

    def keeper(self):
        run = self.machine.split("-")[1]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = path.read_bytes().decode(errors="replace")
            if "keeper.py" in words and run in words:
                return int(path.parent.name)
        raise AssertionError("it has no keeper")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        assert self.machine
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdout.close()


async def test_a_killed_program(cloud, ramure_home):
    """Its keeper ends the sandbox, long before the lease."""
    with Program(lease=600) as program:
        program.kill()
        await until(lambda: not cloud.alive())
        await until(lambda: not list((ramure_home / "runtimes").iterdir()))


async def test_a_killed_program_and_its_killed_keeper(cloud, ramure_home):
    """The sandbox ends by itself; no other run and no gc helps."""
    with Program(lease=3) as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        assert cloud.alive()
        await until(lambda: not cloud.alive())


def test_gc_ends_what_was_left(cloud, ramure_home):
    with Program(lease=600) as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        assert cloud.alive()
        command = [sys.executable, "-m", "ramure", "gc", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [program.machine] in json.loads(done.stdout)["removed"].values()
        assert not cloud.alive()


# --- the limit


with_and_without_relay = pytest.mark.parametrize("source", ["python:3.12", "bare:1"])


@with_and_without_relay
async def test_at_its_timeout(make, cloud, source):
    box = await make(ModalImage(source, timeout=500))
    async with await box.open_process("echo up; exec sleep 1000") as process:
        await process.stdout.receive()
        cloud("expire", sandbox=box.sandbox.object_id)
        with (
            pytest.raises(SandboxExpired, match="timeout of 500 s") as caught,
            anyio.fail_after(HANGS),
        ):
            await process.wait()
    assert caught.value.image is None
    assert str(caught.value).count("machine 'm'") == 1
    with pytest.raises(SandboxExpired):
        await box.exec("true")


@with_and_without_relay
async def test_a_warning_and_a_snapshot_before_it(make, cloud, monkeypatch, caplog, source):
    monkeypatch.setattr(pulse, "WARNING", 0.999)
    monkeypatch.setattr(pulse, "SNAPSHOT", 0.998)
    monkeypatch.setattr(pulse, "EARLIEST", 10_000.0)
    with caplog.at_level(logging.WARNING, "ramure"):
        image = ModalImage(source, workdir="/work", timeout=1000, at_limit="snapshot")
        box = await make(image)
        await box.exec("echo precious >file")
        await until(lambda: box.last_image is not None)
    assert "ends in 99" in caplog.text
    cloud("expire", sandbox=box.sandbox.object_id)
    with pytest.raises(SandboxExpired) as caught, anyio.fail_after(HANGS):
        await box.exec("sleep 1000")
    again = await make(caught.value.image, name="again")
    assert (await again.exec("cat file")).stdout == "precious\n"


# --- snapshots


def holding(folder, secret):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


async def test_a_snapshot_holds_files_and_no_keys(make, cloud):
    box = await make()
    secret = f"secret-{os.urandom(8).hex()}"
    await box.write_file("file", "kept")
    await box.write_file(f"{box.state_dir}/key", secret)
    image = await box.snapshot()
    assert not holding(Path(cloud("images")[image.source][0]), secret)
    other = await make(image, name="other")
    assert await other.read_file("file") == b"kept"
    await other.write_file("file", "changed")
    assert await box.read_file("file") == b"kept"


async def test_without_memory_there_are_no_snapshots(make):
    box = await make(ModalImage("bare:1"))
    object.__setattr__(box.facts, "memory", "")
    with pytest.raises(Exception, match="would hold keys"):
        await box.snapshot()


async def test_a_fork_belongs_to_the_process_and_the_app(cloud, ramure_home):
    image = ModalImage("python:3.12", workdir="/work")

    @agent_process(timeout=HANGS)
    async def main():
        box = await machine(image=image, host="modal://my-app")
        await box.write_file("file", "kept")
        fork = await box.fork()
        assert fork.ref.data["app"] == box.ref.data["app"] == "my-app"
        assert len(cloud.alive()) == 2
        return await fork.read_file("file")

    assert await main() == b"kept"


# --- tools, and many


async def test_tools_are_layers_of_the_image(make, cloud, tmp_path):
    tools = Greeter(tmp_path / "set", name="greeter-1")
    tools.node = "bin/no-node"
    box = await make(ModalImage("python:3.12"), tools=tools)
    folder = f"/opt/ramure/tools/{tools.key(tools.platforms[0])}"
    assert (await box.exec([f"{folder}/bin/hello"])).stdout == "hello\n"
    calls = cloud("calls")
    await make(ModalImage("python:3.12"), name="second", tools=tools)
    assert cloud("calls")["MountPutFile"] == calls["MountPutFile"]
    assert cloud("calls")["ImageJoinStreaming"] == calls["ImageJoinStreaming"]


async def test_twenty_at_once(make, cloud):
    """Each with a relay: a Node.js."""
    names = [f"many-{number}" for number in range(20)]
    boxes = {}

    async def one(name):
        boxes[name] = await make(ModalImage("python:3.12", workdir="/work"), name=name)
        assert boxes[name].relay is not None
        await boxes[name].write_file("name", name)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    assert len(cloud.alive()) == 20
    for name in names:
        assert (await boxes[name].exec("cat name; hostname")).stdout == f"{name}{name}\n"
    async with anyio.create_task_group() as tasks:
        for box in boxes.values():
            tasks.start_soon(box.destroy)
    assert not cloud.alive()
