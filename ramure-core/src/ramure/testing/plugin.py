"""A pytest plugin: fixtures with which a program that uses agents is tested like any other.

    # conftest.py, the uppermost one
    pytest_plugins = ["ramure.testing.plugin"]

It is not loaded by itself wherever ramure is installed: ramure is there to run programs, and a test
suite that has nothing to do with agents should neither import it nor find that ``anyio_backend``
is another's. Once loaded, *every* test has a home of its own (``ramure_home``), and fails where a
run of it has left something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ramure.testing import memory
from ramure.testing._installed import installed
from ramure.testing._leftovers import Place
from ramure.testing.model import ScriptedModel
from ramure.testing.script import Scripts

__all__ = ["anyio_backend", "memory_host", "ramure_home", "scripted_model"]


@pytest.fixture
def anyio_backend() -> str:
    """asyncio, the loop that ramure needs: for tests marked with ``pytest.mark.anyio``."""
    return "asyncio"


@pytest.fixture(autouse=True)
def ramure_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own (``RAMURE_HOME``), in which nothing is left afterwards.

    Only tool sets and caches (``tools/``) are the person's own, which every test may use.

    After the test these are counted: processes that it, or what it started, has started (agents,
    tmux servers, keepers), machines that the backends of its runs still know, sockets and files of
    runs, temporary files. Each is an error of the test; all of them are removed.
    """
    place = Place()
    try:
        with monkeypatch.context() as patch:
            place.enter(patch)
            yield place.home
            left = place.leftovers()
    finally:
        place.clear()
    if left:
        lines = "".join(f"\n  - {what}" for what in left)
        pytest.fail(f"the test has left behind (removed now):{lines}", pytrace=False)


@pytest.fixture
async def scripted_model(
    ramure_home: Path,
) -> AsyncIterator[Callable[..., Awaitable[ScriptedModel]]]:
    """What starts a model for the real agents that are started from then on, until the test's end.

    ``model = await scripted_model([ToolCall("finish", summary="42"), "Done."])``. The arguments are
    those of ``ScriptedModel``; what a script raises is the test's error.
    """
    async with AsyncExitStack() as stack:

        async def start(scripts: Scripts, **options: object) -> ScriptedModel:
            model = ScriptedModel(scripts, **options)  # type: ignore[arg-type]
            await stack.enter_async_context(model)
            stack.enter_context(model.use())
            return model

        yield start


@pytest.fixture
def memory_host() -> Iterator[str]:
    """``host="memory"`` works: machines without a process (``ramure.testing.memory``)."""
    with installed(memory=memory):
        yield memory.NAME
