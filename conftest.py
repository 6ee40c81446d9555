"""What all tests of all packages share."""

from contextlib import ExitStack
from pathlib import Path

import pytest

import measured

_session = ExitStack()


def pytest_sessionstart() -> None:
    """Keep the folder of sockets with short paths: some tests use it without a run that would."""
    from ramure.run import short_folder

    _session.enter_context(short_folder.kept_for(Path("/", *["long"] * 50)))


def pytest_sessionfinish() -> None:
    """Let go of it, so that whoever is the last removes it."""
    _session.close()


@pytest.fixture(scope="session", autouse=True)
def _only_who_asks_is_measured() -> None:
    measured.only_who_asks()
