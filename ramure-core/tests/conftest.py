"""What all tests of core share."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture
def ramure_home(tmp_path, monkeypatch):
    """A home of the test's own, with a short path (unix sockets)."""
    home = tmp_path / "home"
    monkeypatch.setenv("RAMURE_HOME", str(home))
    return home
