"""An engine that is restarted under a machine's feet: typed errors, at once and afterwards."""

from contextlib import suppress

import anyio
import pytest

import docker_engine
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure_docker import DockerImage
from ramure_docker.backend import DockerBackend

HANGS = 90


async def answered(box):
    """What the engine says of a command, once it can be asked again."""
    while True:
        with suppress(LinkBroken):
            return await box.exec("true")
        await anyio.sleep(0.1)


# The SDK leaves sockets open that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_restart(own_engine, own_box):
    backend, box = own_box

    async def waits():
        with pytest.raises(MachineError):
            await box.exec("echo >/tmp/up; exec sleep 1000")

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            while not (await box.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(own_engine.stop)
        with pytest.raises((LinkBroken, MachineGone)):
            await box.exec("true")
        await anyio.to_thread.run_sync(own_engine.launch)
        with pytest.raises(MachineGone):
            await answered(box)
        await box.destroy()
        assert await backend.find({"ramure.run": "own"}, host=own_engine.host) == []


@pytest.fixture(params=["bare", "node"])
async def kept_box(request, engine):
    """A machine, plain or relayed, on an engine that containers outlive; ``engine``: one can be."""
    own = docker_engine.Engine.start("--live-restore")
    own.add_images(f"ramure-test/{request.param}")
    backend = DockerBackend()
    image = DockerImage(f"ramure-test/{request.param}", network="none")
    box = await backend.provision(image, own.host, name="box", labels={"ramure.run": "own"})
    if request.param == "node":
        await box.start_relay()
    yield own, backend, box
    await backend.aclose()
    own.stop()
    own.launch()  # what a failed test has left ends with an engine without that option
    own.end()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_restart_with_live_restore(kept_box):
    """It keeps containers, but none that is to be removed when it ends, as ours are."""
    own_engine, backend, box = kept_box

    async def waits():
        with pytest.raises(MachineError):
            await box.exec("echo >/tmp/up; exec sleep 1000")

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            while not (await box.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(own_engine.stop)
            await anyio.to_thread.run_sync(own_engine.launch, "--live-restore")
        with pytest.raises(MachineGone):
            await answered(box)
        await box.destroy()
        assert await backend.find({"ramure.run": "own"}, host=own_engine.host) == []
