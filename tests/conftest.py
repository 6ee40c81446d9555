"""What the tests that cross packages share: uv, and the packages as users get them."""

import sys

import pytest

import parts
from checkout import PROJECTS, ROOT, run


@pytest.fixture(scope="session")
def uv():
    """The checkout's own uv, as a function that runs it."""
    if not (ROOT / ".tools/uv/bin/uv").exists():
        parts.lacking("the checkout has no uv: run make setup")
    return lambda *arguments, **kwargs: run(ROOT / "scripts/uv", *arguments, **kwargs)


@pytest.fixture(scope="session")
def wheels(uv, tmp_path_factory):
    """Every package's wheel, made from its source distribution as a release would be."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        uv(
            *("build", "--offline", "--no-build-isolation", "--python", sys.executable),
            *("--out-dir", folder, project),
        )
    return folder


@pytest.fixture
def environment(uv, tmp_path):
    """An empty environment: its Python."""
    uv("venv", "--python", sys.executable, tmp_path / "environment")
    return tmp_path / "environment/bin/python"
