"""What the tests share: a home of their own, and sandboxes that are gone afterwards."""

import itertools
import tempfile
from pathlib import Path

import pytest

from ramure.values import Host
from ramure_bubblewrap import BubblewrapImage
from ramure_bubblewrap.backend import BubblewrapBackend

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """A home with a short path, since sockets are made in it."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        monkeypatch.setenv("RAMURE_HOME", folder)
        yield Path(folder)


@pytest.fixture
async def make():
    """Make sandboxes."""
    backend, made = BubblewrapBackend(), []

    async def make(image=None, **options):
        machine = await backend.provision(
            image or BubblewrapImage(),
            Host("bubblewrap"),
            name=f"box-{next(_numbers)}",
            labels={"ramure.run": "r"},
            **options,
        )
        made.append(machine)
        return machine

    yield make
    for machine in made:
        await machine.destroy()
    assert await backend.find({}, host=Host("bubblewrap")) == []
