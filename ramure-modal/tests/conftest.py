"""Modal, emulated on this computer; sandboxes in it; and that nothing is left of them."""

import tempfile
from pathlib import Path

import pytest

import parts
from modal_emulator.client import Emulator, missing
from ramure.values import Host
from ramure_modal.backend import ModalBackend
from ramure_modal.image import ModalImage

LABELS = {"ramure.run": "r", "ramure.owner": "0@here"}


@pytest.fixture
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
    """The emulator, mended; after the test no sandbox runs."""
    yield emulator
    emulator("mend")
    assert not emulator.alive()


@pytest.fixture
async def backend(cloud, ramure_home):
    backend = ModalBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
async def make(backend):
    """Makes machines, which are destroyed after the test: ``await make(image, name=…)``."""
    made = []

    async def make(image=None, name="m", tools=None):
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
