"""What can go wrong: said clearly, with a type, and within seconds."""

import asyncio
import os
from dataclasses import replace

import anyio
import pytest

import docker_engine
import docker_images
from ramure.errors import MachineGone, MachineStartFailed
from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.checks import engine as check_engine
from ramure_docker.errors import ImageNotFound, NameTaken

HANGS = 30


async def test_no_engine(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(MachineStartFailed, match=r"none.sock does not run .*DOCKER_HOST"):
        await backend.provision(DockerImage(), Host("docker"), name="n", labels={})
    [problem] = await check_engine()
    assert "does not run" in problem.what
    assert "DOCKER_HOST" in problem.cure
    assert not problem.unused, "somebody has named this engine"
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr("ramure_docker.address.SOCKET", f"{tmp_path}/none.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    [problem] = await check_engine()
    assert problem.unused


async def test_an_engine_that_does_not_let_us_in(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/locked.sock")

    async def denied(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", denied)  # root is let in everywhere
    with pytest.raises(MachineStartFailed, match="group `docker`"):
        await backend.provision(DockerImage(), Host("docker"), name="n", labels={})


async def test_the_doctor_is_content(docker_host):
    assert await check_engine() == []


async def test_no_such_image(make):
    with pytest.raises(ImageNotFound, match=r"never"):
        await make(DockerImage("ramure-test/none", pull="never"))
    with pytest.raises(ImageNotFound, match=r"ramure-test/none"):
        await make(DockerImage("ramure-test/none"))


async def test_an_image_for_another_platform(make):
    """It is not the one that is wanted; what there is instead is said."""
    other = DockerImage("ramure-test/shell", platform="linux/s390x", pull="never")
    with pytest.raises(ImageNotFound, match=r"for linux/s390x but one for linux/"):
        await make(other)
    with pytest.raises(ImageNotFound, match="pulled"):
        await make(replace(other, pull="missing"))
    platform = f"linux/{os.uname().machine}"
    await make(DockerImage("ramure-test/shell", platform=platform, pull="never"))


@pytest.mark.parametrize("init", [True, False])
async def test_an_image_without_a_shell(make, engine, init):
    docker_engine.add_image(engine.url, "ramure-test/shellless", docker_images.archive(["true"]))
    with pytest.raises(MachineStartFailed, match="no /bin/sh in the image"):
        await make(DockerImage("ramure-test/shellless", init=init))


async def test_a_name_that_is_taken(make):
    first = await make(name="ramure-test-taken")
    with pytest.raises(NameTaken, match="ramure-test-taken"):
        await make(name="ramure-test-taken")
    assert (await first.exec("echo here")).stdout == "here\n"


async def test_options_that_the_engine_refuses(make):
    with pytest.raises(MachineStartFailed, match="no-such-network"):
        await make(DockerImage("ramure-test/shell", network="no-such-network"))
    with pytest.raises(MachineStartFailed, match="user"):
        await make(DockerImage("ramure-test/shell", user="nobody-known"))


async def waiting(machine, harm):
    """What a command that waits gets, and the next one, once ``harm`` is done."""
    errors = []

    async def wait():
        with pytest.raises(MachineGone) as caught:
            await machine.exec("echo >up; exec sleep 1000", cwd="/tmp")
        errors.append(caught.value)

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while not (await machine.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(harm)
        with pytest.raises(MachineGone):
            await machine.exec("true")
    return str(errors[0])


@pytest.fixture(params=["plain", "relayed"])
async def machine(make, request):
    if request.param == "plain":
        return await make(DockerImage("ramure-test/shell", memory="64m"))
    machine = await make(DockerImage("ramure-test/node", memory="300m"))
    await machine.start_relay()
    return machine


async def test_removed_by_hand(machine, api):
    said = await waiting(machine, lambda: api.remove_container(machine.name, force=True))
    assert machine.name in said
    assert "removed by hand" in said


async def test_stopped_by_hand(machine, api):
    assert "stopped by hand" in await waiting(machine, lambda: api.stop(machine.name, timeout=1))


async def test_ended_from_within(make):
    """Its own program is ended: nobody's hand is blamed."""
    machine = await make()
    with pytest.raises(MachineGone, match=r"own program ended|has been removed"):
        await machine.exec("trap '' TERM; kill -TERM -1; sleep 1000")


async def test_paused_by_hand(machine, api):
    said = await waiting(machine, lambda: api.pause(machine.name))
    assert f"docker unpause {machine.name}" in said


async def test_out_of_memory(make, api):
    """What takes too much is killed by the kernel; the machine lives."""
    machine = await make(DockerImage("ramure-test/shell", memory="64m"))
    result = await machine.exec("x=$(head -c 200m /dev/zero | tr '\\0' x)")
    assert result.exit_code == -9
    assert (await machine.exec("echo here")).stdout == "here\n"
    assert machine.container.ran_out_of_memory
    said = await waiting(machine, lambda: api.remove_container(machine.name, force=True))
    assert "by hand" in said, "that it ran out of memory before is another matter"
