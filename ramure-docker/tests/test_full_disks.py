"""No space: where files go in a container, and where the engine keeps everything."""

import errno
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

import docker_engine
import docker_images
import registries
from ramure_docker import DockerImage
from ramure_docker.errors import NoSpace

HANGS = 60


@pytest.fixture(params=["plain", "relayed"])
async def narrow(make, request):
    """A machine with a folder that hardly anything goes into."""
    reference = "ramure-test/shell" if request.param == "plain" else "ramure-test/node"
    options = {"tmpfs": {"/narrow": "size=100k"}}
    machine = await make(DockerImage(reference, network="none", options=options))
    if request.param == "relayed":
        await machine.start_relay()
    return machine


async def test_a_file_that_does_not_fit(narrow, tmp_path):
    """It is not there in part either."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(bytes(5_000_000))
    with anyio.fail_after(HANGS):
        for attempt in (
            partial(narrow.write_file, "/narrow/file", bytes(5_000_000)),
            partial(narrow.upload, tmp_path / "tree/file", "/narrow/file"),
        ):
            with pytest.raises(OSError, match="/narrow/file") as caught:
                await attempt()
            assert caught.value.errno == errno.ENOSPC
            assert (await narrow.exec("ls -A /narrow")).stdout == ""
        with pytest.raises(OSError, match="/narrow") as caught:
            await narrow.upload(tmp_path / "tree", "/narrow/tree")
        assert caught.value.errno == errno.ENOSPC


@pytest.fixture
def small(engine):
    """An engine whose disk is small; ``engine`` only says that there can be one."""
    own = docker_engine.Engine.prepare()
    root = Path(own.folder, "root")
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(root)]
    subprocess.run(mount, check=True)
    own.launch()
    own.add_images(docker_engine.BARE)
    yield own
    own.end()


def fill(folder):
    """Put as much into it as there is room for; gives the file."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


async def test_an_engine_whose_disk_is_full(small, make):
    image = DockerImage("ramure-test/bare", network="none")
    box = await make(image, host=small.host)
    with registries.registry(small) as registry:
        other = registry.add("me/box:tag", docker_images.bare([("/etc/new", "x" * 1_000_000)]))
        filler = await anyio.to_thread.run_sync(fill, Path(small.folder, "root"))
        with anyio.fail_after(HANGS):
            with pytest.raises(NoSpace, match="docker system prune"):
                await make(image, host=small.host)
            with pytest.raises(NoSpace, match=registry.host):
                await make(DockerImage(other), host=small.host)
            with pytest.raises(OSError, match="/file") as caught:
                await box.write_file("/file", bytes(5_000_000))
            assert caught.value.errno == errno.ENOSPC
            assert (await box.exec("echo here")).stdout == "here\n"
            await anyio.Path(filler).unlink()
            await (await make(image, host=small.host)).destroy()
            await box.destroy()
