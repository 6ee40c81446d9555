"""A real engine for all tests, and machines on it."""

import fcntl
import gc
import itertools
import os
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

import docker_engine
import parts
from ramure.values import Host
from ramure_docker.backend import DockerBackend
from ramure_docker.image import DockerImage

_numbers = itertools.count()
HERE = Host("docker")


def pytest_collection_modifyitems(items):
    """The SDK leaves sockets that it could not connect to the collector of garbage."""
    ours = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(ours):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def _sdks_sockets():
    """They are collected here, where that is known, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture
def home(monkeypatch):
    """A home of the test's own, with a short path (unix sockets)."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        monkeypatch.setenv("RAMURE_HOME", folder)
        yield Path(folder)


def _shared(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    try:
        with docker_engine.shared(Path(folder) / name) as engine:
            yield engine
    except docker_engine.Missing as error:
        parts.lacking(str(error))


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """The engine that all workers of this test run share."""
    yield from _shared(tmp_path_factory, "docker")


@pytest.fixture
def volumes_alone(engine):
    """No other test removes what nobody uses meanwhile."""
    with Path(engine.folder, "volumes.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def sets_engine(tmp_path_factory):
    """Another one, for tests of tool sets: every container of an engine mounts those."""
    yield from _shared(tmp_path_factory, "docker-sets")


@pytest.fixture
def sets_alone(sets_engine):
    """That, for this test alone."""
    with docker_engine.alone(sets_engine):
        yield sets_engine


@pytest.fixture
def docker_host(engine, monkeypatch):
    """The engine is the one that ``host="docker"`` means."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    return engine.url


@pytest.fixture
def api(engine):
    """The SDK's own client, to look with, and to do harm."""
    with _client(engine) as client:
        yield client


@contextmanager
def _client(engine):
    import docker

    client = docker.APIClient(base_url=engine.url, version="auto")
    yield client
    client.close()


@pytest.fixture
def containers(api):
    """The containers of a run."""
    return lambda run: api.containers(all=True, filters={"label": f"ramure.run={run}"})


@pytest.fixture
async def backend(docker_host):
    backend = DockerBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
def own_engine(engine):
    """An engine of this test's own, to be stopped; ``engine`` only says that there can be one."""
    own = docker_engine.Engine.start()
    docker_engine.add_image(own.url, "ramure-test/bare", docker_engine.docker_images.bare())
    yield own
    own.go_on()
    own.end()


@pytest.fixture
async def own_box(own_engine):
    """A backend and a machine of it on an engine of the test's own."""
    backend = DockerBackend()
    image, host = DockerImage("ramure-test/bare", network="none"), own_engine.host
    yield backend, await backend.provision(image, host, name="box", labels={"ramure.run": "own"})
    await backend.aclose()


@pytest.fixture
async def make(backend, api):
    """Make machines; all of them are gone after the test."""
    async with _making(backend, api) as make:
        yield make


@pytest.fixture(scope="class")
async def make_for_class(engine):
    """The same for a class of tests."""
    with pytest.MonkeyPatch.context() as patch, _client(engine) as api:
        patch.setenv("DOCKER_HOST", engine.url)
        backend = DockerBackend()
        async with _making(backend, api) as make:
            yield make
        await backend.aclose()


@asynccontextmanager
async def _making(backend, api):
    made = []
    run = f"{os.getpid()}-{next(_numbers)}"

    async def make(image=None, *, host=HERE, **options):
        options.setdefault("name", f"ramure-test-{run}-{next(_numbers)}")
        options.setdefault("labels", {"ramure.run": run})
        image = image or DockerImage("ramure-test/shell")
        machine = await backend.provision(image, host, **options)
        made.append(machine)
        return machine

    make.run = run
    yield make
    for machine in made:
        await machine.destroy()
    assert api.containers(all=True, filters={"label": f"ramure.run={run}"}) == []
