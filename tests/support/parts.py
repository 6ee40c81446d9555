"""Real parts that tests need. In CI all are there; on a person's computer a test may skip."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from ramure import paths

PIS = ("RAMURE_TEST_PI_22", "RAMURE_TEST_PI_20")
"""The variables that name pi's package, one for each version of Node.js that it runs on."""


def lacking(why: str) -> NoReturn:
    """Skip the test for want of a part; in CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def pi_package(variable: str = PIS[0]) -> str:
    """The folder of pi's npm package."""
    return os.environ.get(variable) or lacking(f"{variable} names no pi: run make setup")


def pi_environment() -> dict[str, str]:
    """Variables of a computer that has pi and its Node.js."""
    package = pi_package()
    node = Path(package).parents[1] / ".bin"
    return {"RAMURE_PI": package, "PATH": f"{node}:{os.environ['PATH']}"}


def share_compiled(home: Path) -> None:
    """Have the pi of a run with this home find what an earlier test's pi has compiled.

    That is a third of the work of a start, and the same for all.
    """
    shared = Path(__file__).parents[2] / "build/compiled"
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    (paths.make_private(home / "tools") / "cache").symlink_to(shared)
