"""Modal, emulated on this computer; sandboxes in it; and that nothing is left of them."""

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import parts
from modal_emulator.client import Emulator, missing
from ramure.values import Host
from ramure_modal.backend import ModalBackend
from ramure_modal.image import ModalImage

LABELS = {"ramure.run": "r", "ramure.owner": "0@here"}


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture
def ramure_home(monkeypatch):
    """A home of the test's own, with a short path (unix sockets)."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        monkeypatch.setenv("RAMURE_HOME", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
def emulator():
    """One for all tests: the SDK keeps one client for the whole process."""
    if problem := missing():
        parts.lacking(problem)
    with pytest.MonkeyPatch.context() as patch, Emulator() as emulator:
        for name, value in emulator.env.items():
            patch.setenv(name, value)
        yield emulator


@pytest.fixture
def cloud(emulator):
    """The emulator, mended; after the test no sandbox runs that did not before."""
    before = {sandbox["id"] for sandbox in emulator.alive()}
    yield emulator
    emulator("mend")
    assert {sandbox["id"] for sandbox in emulator.alive()} == before


@pytest.fixture
async def backend(cloud, ramure_home):
    backend = ModalBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
async def make(backend):
    """Makes machines, which are destroyed after the test: ``await make(image, name=…)``."""
    async with _making(backend) as make:
        yield make


@pytest.fixture(scope="class")
async def make_for_class(emulator):
    """The same for a class of tests."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="h-") as folder:
        patch.setenv("RAMURE_HOME", folder)
        backend = ModalBackend()
        async with _making(backend, "lasting") as make:
            yield make
        await backend.aclose()


@asynccontextmanager
async def _making(backend, name="m"):
    made = []

    async def make(image=None, name=name, tools=None):
        image = image or ModalImage("python:3.12", workdir="/work")
        machine = await backend.provision(
            image, Host("modal"), name=name, labels=LABELS, tools=tools
        )
        made.append(machine)
        return machine

    yield make
    for machine in made:
        await machine.destroy()


@pytest.fixture
async def relayed(make):
    """A sandbox with a relay."""
    machine = await make()
    assert machine.relay is not None
    return machine


@pytest.fixture
async def plain(make):
    """A sandbox of an image without Node.js, and so without a relay."""
    machine = await make(ModalImage("bare:1", workdir="/work"))
    assert machine.relay is None
    return machine
