"""An engine that is restarted under a machine's feet: typed errors, at once and afterwards."""

from contextlib import suppress

import anyio
import pytest

import docker_engine
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.backend import DockerBackend

HANGS = 90


@pytest.fixture
def own(engine):
    """An engine of this test's own; ``engine`` only says that there can be one."""
    own = docker_engine.Engine.start()
    docker_engine.add_image(own.url, "ramure-test/bare", docker_engine.docker_images.bare())
    yield own
    own.end()


async def answered(box):
    """What the engine says of a command, once it can be asked again."""
    while True:
        with suppress(LinkBroken):
            return await box.exec("true")
        await anyio.sleep(0.1)


# The SDK leaves sockets open that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_restart(own, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", own.url)
    backend = DockerBackend()
    image = DockerImage("ramure-test/bare", network="none")
    box = await backend.provision(image, Host("docker"), name="box", labels={"ramure.run": "r"})

    async def waits():
        with pytest.raises(MachineError):
            await box.exec("echo >/tmp/up; exec sleep 1000")

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            while not (await box.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(own.stop)
        with pytest.raises((LinkBroken, MachineGone)):
            await box.exec("true")
        await anyio.to_thread.run_sync(own.launch)
        with pytest.raises(MachineGone):
            await answered(box)
        await box.destroy()
        assert await backend.find({"ramure.run": "r"}, host=Host("docker")) == []
        await backend.aclose()
