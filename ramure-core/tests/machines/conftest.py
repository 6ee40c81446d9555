"""A local machine with a home of its own."""

import pytest

from ramure.backends.local import LocalBackend, LocalImage
from ramure.values import Host


@pytest.fixture
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
async def local(ramure_home, workdir):
    """A local machine; all of it is gone after the test."""
    machine = await LocalBackend().provision(
        LocalImage(workdir), Host("local"), name="m", labels={"ramure.run": "r"}
    )
    yield machine
    await machine.destroy()
    assert list(ramure_home.glob("runtimes/r/*")) == []
