"""Tool sets in volumes: filled once, only read, shared by runs, removed when nobody uses them."""

from contextlib import suppress

import anyio
import pytest
from docker.errors import NotFound

from ramure.errors import MachineStartFailed
from ramure.testing._contract_equip import Greeter, NotToBeHad
from ramure.values import Host
from ramure_docker import DockerImage, volumes
from ramure_docker.backend import DockerBackend

HANGS = 60
HERE = Host("docker")


@pytest.fixture
async def greeter(tmp_path, backend, volumes_alone):
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
def lock(api, greeter):
    """The lock of whoever fills the greeter's volume, held by nobody who lives."""

    def lock():
        [volume] = api.volumes(filters={"label": "ramure.tools"})["Volumes"]
        config = api.create_host_config(binds=[f"{volume['Name']}:/opt/ramure"])
        name = f"{volume['Name']}-filling"
        made.append(
            api.create_container("ramure-test/shell", "true", name=name, host_config=config)
        )

    made = []
    yield lock
    for one in made:
        with suppress(NotFound):
            api.remove_container(one, force=True)


async def test_whoever_has_filled_a_volume_may_have_died(greeter, make, greeted, lock, docker_host):
    """Before the lock was gone: the volume is full, and nobody waits."""
    await greeted(await make(tools=greeter), greeter)
    lock()
    another = DockerBackend()
    with anyio.fail_after(HANGS):
        machine = await another.provision(
            DockerImage("ramure-test/shell"),
            HERE,
            name=f"ramure-test-{make.run}-another",
            labels={"ramure.run": make.run},
            tools=greeter,
        )
        await greeted(machine, greeter)
        await machine.destroy()
    await another.aclose()


async def test_waiting_for_another_program_is_told(greeter, make, lock, api, monkeypatch, capfd):
    """And a lock that is too old is nobody's, by the engine's own clock."""
    name = volumes.volume_of(greeter.key(await (await make()).platform()))
    api.create_volume(name, labels={volumes.KEY: name})
    lock()
    monkeypatch.setattr(volumes, "STALE", 2.0)
    with anyio.fail_after(HANGS):
        assert (await make(tools=greeter)).mounted_tools
    assert "waiting for another program" in capfd.readouterr().err
