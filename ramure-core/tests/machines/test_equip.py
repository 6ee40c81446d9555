"""Tool sets: made once on this computer, brought once to a machine, by several programs at once."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from far_machines import PlainMachine
from ramure import paths, toolset
from ramure.errors import MachineError, ToolSetUnavailable
from ramure.relay import RelayedMachine
from ramure.testing._greeter import Greeter
from ramure.toolset import PROBE, Platform, made_once

HANGS = 60


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("Linux\nx86_64\nglibc\n", "pi-1-linux-x86_64-glibc"),
        ("Linux\naarch64\nmusl\n", "pi-1-linux-aarch64-musl"),
        ("Darwin\narm64\n", "pi-1-darwin-arm64"),
    ],
)
def test_a_key_says_for_which_machines(said, key, tmp_path):
    assert Greeter(tmp_path, name="pi-1").key(Platform.read(said)) == key


@pytest.mark.parametrize("said", ["", "Linux", "Linux a b c", "../.. x86_64 glibc"])
def test_a_platform_that_makes_no_sense(said):
    with pytest.raises(ValueError, match="no sense"):
        Platform.read(said)


def probed(root, **programs):
    """What the probe says where there are only these programs."""
    for name, text in programs.items():
        (root / name).write_text(f"#!/bin/sh\n{text}\n")
        (root / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", PROBE], env={"PATH": str(root)}, capture_output=True, check=True
    )
    return done.stdout.decode().split()


def test_the_probe(tmp_path):
    system = {"uname": "case $1 in -s) echo Linux;; -m) echo riscv64;; esac"}
    musl = "echo 'musl libc (riscv64)' >&2; exit 1"
    assert probed(tmp_path, **system, ldd=musl) == ["Linux", "riscv64", "musl"]
    assert probed(tmp_path, getconf="echo glibc 2.39") == ["Linux", "riscv64", "glibc"]
    assert probed(tmp_path, uname="case $1 in -s) echo Darwin;; -m) echo arm64;; esac") == [
        "Darwin",
        "arm64",
    ]


# --- on this computer


async def test_a_set_is_made_once(ramure_home):
    made = []

    async def make(folder):
        made.append(folder)
        await anyio.sleep(0.1)
        (folder / "file").write_text("x")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(made_once, "pi-1-x", make)
    folder = await made_once("pi-1-x", make)
    assert len(made) == 1
    assert folder == paths.tools() / "sets" / "pi-1-x"
    assert (folder / "file").read_text() == "x"
    assert folder.stat().st_mode & 0o777 == 0o755


async def test_other_users_can_use_a_set(ramure_home):
    async def make(folder):
        (folder / "bin").mkdir()
        for name, mode in (("program", 0o700), ("data", 0o600)):
            (folder / "bin" / name).touch(mode)
        (folder / "bin/link").symlink_to("program")
        (folder / "bin/astray").symlink_to("nowhere")

    umask = os.umask(0o077)
    try:
        folder = await made_once("pi-1-x", make)
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("**/[bdlp]*")}
    assert modes == {"bin": 0o755, "program": 0o755, "data": 0o644, "link": 0o755}


async def test_what_was_cancelled_or_failed_is_made_again(ramure_home):
    async def never(folder):
        (folder / "half").touch()
        await anyio.sleep_forever()

    async def fails(folder):
        (folder / "half").touch()
        raise OSError("no space left")

    async def make(folder):
        assert not list(folder.iterdir())

    with anyio.move_on_after(0.2):
        await made_once("pi-1-x", never)
    with pytest.raises(OSError, match="no space"):
        await made_once("pi-1-x", fails)
    sets = paths.tools() / "sets"
    assert [path.name for path in sets.iterdir()] == [".pi-1-x.lock"]
    await made_once("pi-1-x", make)


DIES = """
import anyio, sys
from ramure.toolset import made_once
async def make(folder):
    (folder / "half").touch()
    print("making", flush=True)
    await anyio.sleep_forever()
anyio.run(made_once, "pi-1-x", make)
"""


def popen(*args, **kwargs):
    return subprocess.Popen(*args, **kwargs)


async def test_what_a_killed_program_left_half_made(ramure_home):
    said = []

    async def make(folder):
        (folder / "whole").touch()

    with popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"making\n"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made_once, "pi-1-x", make, said.append)
            with anyio.fail_after(HANGS):
                while not said:
                    await anyio.sleep(0.01)
            program.kill()
    assert "another program" in said[0]
    sets = paths.tools() / "sets"
    assert {path.name for path in sets.iterdir()} == {".pi-1-x.lock", "pi-1-x"}
    assert [path.name for path in (sets / "pi-1-x").iterdir()] == ["whole"]


# --- on a machine


async def test_runs_at_the_same_time_bring_the_same(local, tmp_path):
    machines = [PlainMachine(local) for _ in range(4)]
    sets = [Greeter(tmp_path / "set", name="greeter-1") for _ in machines]
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for machine, tools in zip(machines, sets, strict=True):
                machine.tools_dir = str(tmp_path / "home/tools")
                tasks.start_soon(machine.equip, tools)
    [folder] = {machine.tool_folder(tools) for machine, tools in zip(machines, sets, strict=True)}
    assert [str(path) for path in (tmp_path / "home/tools").iterdir()] == [folder]
    assert sorted(path.name for path in (tmp_path / "home/tools").glob("*/*")) == ["bin", "share"]


async def test_what_an_earlier_run_has_brought(local, tmp_path):
    tools, again = (Greeter(tmp_path / "set", name="greeter-1") for _ in range(2))
    for one in (tools, again):
        machine = PlainMachine(local)
        machine.tools_dir = str(tmp_path / "tools")
        await machine.equip(one)
        assert machine.tool_folder(one)
    assert tools.platforms
    assert not again.platforms


async def test_what_was_half_brought_long_ago_is_removed(local, tmp_path):
    machine = PlainMachine(local)
    machine.tools_dir = str(tmp_path / "tools")
    for name, age in (("old", 3 * 86400), ("young", 3600)):
        folder = tmp_path / f"tools/.new-{name}"
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    tools = Greeter(tmp_path / "set", name="greeter-1")
    await machine.equip(tools)
    left = {path.name for path in (tmp_path / "tools").iterdir()}
    assert left == {".new-young", Path(machine.tool_folder(tools)).name}


async def test_what_the_backend_has_mounted_serves(local, tmp_path):
    machine, tools = PlainMachine(local), Greeter(tmp_path / "set", name="greeter-1")
    machine.mounted_tools = {"greeter-1": "/opt/greeter"}
    await machine.equip(tools)
    assert machine.tool_folder(tools) == RelayedMachine(machine).tool_folder(tools)
    assert machine.tool_folder(tools) == "/opt/greeter"
    assert not tools.platforms


async def test_a_folder_that_cannot_be_written(local, tmp_path):
    machine = PlainMachine(local)
    machine.tools_dir = "/proc/tools"
    with pytest.raises(MachineError, match=r"cannot be brought: .*/proc/tools"):
        await machine.equip(Greeter(tmp_path / "set", name="greeter-1"))


async def test_waiting_for_another_program_ends(ramure_home, monkeypatch):
    monkeypatch.setattr(toolset, "LOCK_WITHIN", 0.3)

    async def make(folder):
        raise AssertionError("it is another's to make")

    with popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"making\n"
        with anyio.fail_after(HANGS), pytest.raises(ToolSetUnavailable, match="another program"):
            await made_once("pi-1-x", make)
        program.kill()
