"""Tool sets in volumes: filled once, only read, shared by runs, removed when nobody uses them."""

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from docker.errors import NotFound

from ramure.errors import MachineStartFailed
from ramure.testing._greeter import Greeter, NotToBeHad
from ramure.values import Host
from ramure_docker import DockerImage, volumes
from ramure_docker.backend import DockerBackend
from ramure_docker.volumes import Volume

HANGS = 60
SOON = 15
"""Seconds: far above what is promised, far below what copying a heavy set takes."""
HERE = Host("docker")


@pytest.fixture
def engine(sets_alone):
    """No other test's containers mount the sets of these."""
    return sets_alone


@pytest.fixture
async def greeter(tmp_path, backend):
    tools = Greeter(tmp_path / "set", name=f"greeter-{tmp_path.name.lower().replace('_', '-')}")
    yield tools
    for volume in await backend.remove_caches(HERE):
        assert volume.startswith("ramure-tools-greeter-")


@pytest.fixture
def greeted():
    async def greeted(machine, tools):
        await machine.equip(tools)
        folder = machine.tool_folder(tools)
        assert folder.startswith("/opt/ramure/")
        assert (await machine.exec([f"{folder}/bin/hello"], check=True)).stdout == "hello\n"
        return folder

    return greeted


@pytest.mark.parametrize("reference", ["ramure-test/shell", "ramure-test/bare"])
async def test_a_volume_is_filled_once(greeter, make, greeted, api, reference):
    image = DockerImage(reference, network="none", read_only=True)
    for _ in range(3):
        folder = await greeted(await make(image, tools=greeter), greeter)
    assert len(greeter.platforms) == 1
    machine = await make(image)
    assert machine.mounted_tools == {greeter.name: folder}, "it is at hand for nothing"
    assert not (await machine.exec(f"echo x >{folder}/new")).ok
    [volume] = api.volumes(filters={"label": "ramure.tools"})["Volumes"]
    assert volume["Labels"]["ramure.tools"] == greeter.key(greeter.platforms[0])


async def test_several_programs_at_once(greeter, make, greeted, docker_host):
    """Each with a backend of its own."""
    backends = [DockerBackend() for _ in range(4)]

    async def one(number, backend):
        machine = await backend.provision(
            DockerImage("ramure-test/shell"),
            HERE,
            name=f"ramure-test-{make.run}-program-{number}",
            labels={"ramure.run": make.run},
            tools=greeter,
        )
        await greeted(machine, greeter)
        await machine.destroy()

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for number, backend in enumerate(backends):
                tasks.start_soon(one, number, backend)
    for backend in backends:
        await backend.aclose()


async def test_what_is_there_needs_no_volume(greeter, make, api):
    greeter.there = True
    for _ in range(2):
        machine = await make(tools=greeter)
        await machine.equip(greeter)
        assert machine.mounted_tools == {}
    assert greeter.platforms == []
    assert not api.volumes(filters={"label": "ramure.tools"})["Volumes"]


async def test_a_set_that_is_not_to_be_had(make, tmp_path):
    machine = await make(tools=NotToBeHad(tmp_path, name="no-such"))
    assert (await machine.exec("echo here")).stdout == "here\n"


async def test_caches_are_removed_when_nobody_uses_them(greeter, make, greeted, backend):
    first = await make(tools=greeter)
    assert await backend.remove_caches(HERE) == []
    await first.destroy()
    [volume] = await backend.remove_caches(HERE, dry_run=True)
    assert await backend.remove_caches(HERE) == [volume]
    assert await backend.remove_caches(HERE) == []
    await greeted(await make(tools=greeter), greeter)


async def test_a_set_that_cannot_be_read(greeter, make, api, backend):
    """The next attempt fills the volume."""

    async def nowhere(platform, progress=None):
        return greeter.folder / "missing"

    assemble, greeter.assemble = greeter.assemble, nowhere
    with pytest.raises((MachineStartFailed, OSError)):
        await make(tools=greeter)
    greeter.assemble = assemble
    machine = await make(tools=greeter)
    assert machine.mounted_tools


@pytest.fixture
async def volume(greeter, make):
    """The volume that the greeter's set is to be in; it is not there yet."""
    platform = await (await make()).platform()
    return Volume(greeter.key(platform), greeter.name, platform, greeter.node)


async def test_a_lock_that_nobody_holds(greeter, make, volume, api, monkeypatch, capfd):
    """Its holder died before it started it; waiting for that is told."""
    api.create_container("ramure-test/shell", "true", name=volume.lock)
    monkeypatch.setattr(volumes, "NEVER_RAN", 2.0)
    with anyio.fail_after(HANGS):
        assert (await make(tools=greeter)).mounted_tools
    assert "waiting for another program" in capfd.readouterr().err


FILLING = """
import asyncio, sys
from pathlib import Path
from ramure.testing._greeter import Greeter
from ramure.values import Host
from ramure_docker import DockerImage, making
from ramure_docker.backend import DockerBackend

making.FILLING = 4.0
folder, set_, run = sys.argv[1:]
image = DockerImage("ramure-test/shell", lease=4)
how = {"name": f"{run}-it", "labels": {"ramure.run": run}}
how["tools"] = Greeter(Path(folder), name=set_)
asyncio.run(DockerBackend().provision(image, Host("docker"), **how))
"""


@pytest.fixture
def heavy(greeter, tmp_path):
    """The same set, but for a file that takes a minute to copy."""
    heavy = Greeter(tmp_path / "heavy", name=greeter.name)
    heavy._write()
    with (heavy.folder / "share/weight").open("r+b") as file:
        file.truncate(8_000_000_000)
    return heavy


@pytest.fixture
def begun(volume, api):
    """Wait until somebody fills the volume."""

    async def begun():
        with anyio.fail_after(HANGS):
            while not weight().exists():
                await anyio.sleep(0.02)

    def weight():
        # The engine answers nothing about a container while it copies into it.
        with suppress(NotFound):
            return Path(api.inspect_volume(volume.volume)["Mountpoint"], "share/weight")
        return Path("/none")

    return begun


@pytest.fixture
def filled(make, greeter, greeted):
    """See that another attempt fills it, and with the real set."""

    async def filled():
        with anyio.fail_after(HANGS):
            machine = await make(tools=greeter)
        folder = await greeted(machine, greeter)
        weight = await machine.exec(f"stat -c %s {folder}/share/weight")
        assert weight.stdout == "3000000\n"

    return filled


async def test_whoever_fills_a_volume_is_killed(heavy, make, begun, filled):
    """Others go on within seconds, and no keeper helps."""
    command = [sys.executable, "-c", FILLING, str(heavy.folder), heavy.name, make.run]
    async with await anyio.open_process(command) as program:
        await begun()
        program.kill()
        await program.wait()
    await filled()


async def test_whoever_fills_a_volume_is_cancelled(heavy, make, begun, filled):
    """It is over soon, and nobody waits for the lock."""
    with anyio.fail_after(HANGS) as patience:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(make, tools=heavy))
            await begun()
            patience.deadline = anyio.current_time() + SOON
            tasks.cancel_scope.cancel()
    await filled()


@pytest.fixture
async def another(docker_host):
    """The backend of another program, which knows nothing of this one's machines."""
    backend = DockerBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
async def plain(another, greeter, make):
    """A machine of that program, which was made for no agent."""
    await (await make(tools=greeter)).destroy()
    box = await another.provision(
        DockerImage("ramure-test/bare", network="none", read_only=True),
        HERE,
        name=f"ramure-test-{make.run}-plain",
        labels={"ramure.run": make.run},
    )
    yield box
    await box.destroy()


async def test_a_plain_machine_mounts_what_is_there(plain, greeter, greeted):
    """Agents on it get their tools without assembling or bringing anything."""
    assert plain.mounted_tools == {}, "the image may have all that agents need"
    await greeted(plain, greeter)
    assert len(greeter.platforms) == 1


async def test_what_a_plain_machine_has_itself(plain, greeter):
    """It goes before what is at hand."""
    greeter.there = True
    await plain.equip(greeter)
    assert plain.tool_folder(greeter) is None


@pytest.mark.parametrize("libc", ["", "glibc", "musl"])
async def test_what_is_there_is_not_for_this_machine(make, greeter, volume, api, libc):
    """A volume that is not full, or is for another C library; the set is brought instead."""
    other = replace(volume, platform=replace(volume.platform, libc=libc or volume.platform.libc))
    api.create_volume(other.volume, labels=other.labels)
    if libc:
        fill = ["sh", "-c", f"touch {other.folder}/.ramure-complete"]
        binds = {other.volume: {"bind": other.folder, "mode": "rw"}}
        config = api.create_host_config(binds=binds)
        made = api.create_container("ramure-test/bare", fill, host_config=config)
        api.start(made)
        api.wait(made)
        api.remove_container(made)
    box = await make(DockerImage("ramure-test/bare"))
    await box.equip(greeter)
    at_hand = libc == volume.platform.libc
    assert box.tool_folder(greeter).startswith("/opt/ramure/" if at_hand else "/var/tmp/")
