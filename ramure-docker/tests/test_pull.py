"""Images of a registry: when they are pulled, with whose login, what is told, what is refused."""

import base64
import json
import re
import secrets

import anyio
import pytest

import docker_images
import registries
from ramure.errors import MachineStartFailed
from ramure_docker import DockerImage, pull
from ramure_docker.errors import ImageNotFound

SOON = 15
"""Seconds: far below what the engine, and a connection to it, may be silent for."""


@pytest.fixture
def registry(engine):
    with registries.registry(engine) as registry:
        yield registry


def root(word):
    """A root file system that says which one it is, and that the engine has never seen."""
    return docker_images.bare([("/etc/which", word), ("/etc/new", secrets.token_hex())])


@pytest.fixture
def reference(registry, api):
    """The name of an image that the registry has, and the engine has not."""
    reference = registry.add("me/box:tag", root("first"))
    yield reference
    if api.images(reference):
        api.remove_image(reference, force=True)


@pytest.fixture
def logged_in(monkeypatch, tmp_path, registry):
    """Log in as ``docker login`` does."""

    def logged_in(login, **more):
        entry = {"auth": base64.b64encode(login.encode()).decode()}
        config = {"auths": {registry.host: entry}, **more}
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    return logged_in


def box(reference, **options):
    return DockerImage(reference, network="none", **options)


async def which(machine):
    said = (await machine.exec("cat /etc/which", check=True)).stdout
    await machine.destroy()
    return said


async def test_when_images_are_pulled(make, registry, reference):
    with pytest.raises(ImageNotFound, match="forbids"):
        await make(box(reference, pull="never"))
    assert not registry.asked
    assert await which(await make(box(reference))) == "first"
    registry.add("me/box:tag", root("second"))
    for when, word in {"missing": "first", "never": "first", "always": "second"}.items():
        assert await which(await make(box(reference, pull=when))) == word


async def test_progress_is_told(make, reference, capfd, monkeypatch):
    monkeypatch.setattr(pull, "EVERY", 0.0)
    await make(box(reference))
    told = capfd.readouterr().err
    assert f"ramure: pulling {reference}\n" in told
    assert re.search(rf"ramure: pulling {reference}: \d+ of \d+ MB\n", told)


@pytest.mark.filterwarnings("ignore:docker-credential-no-such-helper")
async def test_a_login(make, registry, reference, logged_in):
    registry.login = "me:sesame"
    with pytest.raises(ImageNotFound, match=r"may not be pulled.*docker login"):
        await make(box(reference))
    logged_in("me:nonsense")
    with pytest.raises(ImageNotFound, match=r"may not be pulled.*docker login") as caught:
        await make(box(reference))
    assert "nonsense" not in str(caught.value)
    logged_in("me:sesame", credsStore="no-such-helper")
    with pytest.raises(MachineStartFailed, match=r"login for .*no-such-helper"):
        await make(box(reference))
    logged_in("me:sesame")
    assert await which(await make(box(reference))) == "first"


async def test_no_such_image(make, registry, reference):
    for name in ("me/none:tag", "me/box:none"):
        with pytest.raises(ImageNotFound, match=f"{registry.host}/{name}.*not found|unknown"):
            await make(box(f"{registry.host}/{name}"))


async def test_a_registry_that_falls_silent(make, registry, reference):
    """Whoever waits can stop waiting."""
    registry.flowing.clear()
    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, box(reference))
            while not any("/blobs/" in path for path in registry.asked):
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    registry.flowing.set()
    assert await which(await make(box(reference))) == "first"
