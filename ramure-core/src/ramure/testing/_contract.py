"""What the parts of the machine contract share: abilities, and ways to see what lives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import anyio
import pytest

from ramure.machine import Machine
from ramure.testing._suite import Suite

T = TypeVar("T", bound=Callable[..., object])

BEAT = 'while :; do echo >>"$0"; sleep 0.1; done'


_without_a_shell: set[str] = set()


def without_a_shell(test: T) -> T:
    """Decorator of tests for which ``cat``, ``echo``, ``false``, ``true`` are programs enough."""
    _without_a_shell.add(test.__name__)
    return test


class Contract(Suite):
    """The fixture and the abilities; see ``MachineContract``."""

    shell: ClassVar[bool] = True
    pty: ClassVar[bool] = True
    setsid: ClassVar[bool] = True
    other_user: ClassVar[str | None] = None
    forbidden: ClassVar[str | None] = None
    patience: ClassVar[float] = 30.0
    big: ClassVar[int] = 50_000_000

    @pytest.fixture
    async def machine(self) -> Machine:
        """A machine of this test's own, destroyed afterwards. To be overridden."""
        raise NotImplementedError("a subclass of MachineContract needs a fixture `machine`")

    @pytest.fixture(autouse=True)
    def _shell(self, request: pytest.FixtureRequest) -> None:
        if request.node.originalname not in _without_a_shell:
            self.needs("shell")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An empty folder on this computer."""
        folder = tmp_path / "here"
        folder.mkdir()
        return folder

    def beating(self, path: str) -> str:
        """Shell text that starts a child in a session of its own, which writes to ``path``.

        It holds the command's pipes. Where ``setsid`` is not there, it stays in the session.
        """
        return f"{'setsid ' if self.setsid else ''}sh -c '{BEAT}' {path} &"

    async def beats(self, machine: Machine, path: str) -> int:
        """How often the child has written until now."""
        result = await machine.exec(["sh", "-c", 'cat "$0" 2>/dev/null | wc -c', path])
        return int(result.stdout)

    async def lives(self, machine: Machine, path: str) -> bool:
        """Whether the child goes on writing. Works where a dead child stays as a zombie, too."""
        before = await self.beats(machine, path)
        await anyio.sleep(1.0)
        return await self.beats(machine, path) > before

    async def started(self, machine: Machine, path: str) -> None:
        """Wait until the child writes, or anybody else."""
        with anyio.fail_after(self.patience):
            while not await self.beats(machine, path):  # noqa: ASYNC110 a machine sends no event
                await anyio.sleep(0.05)
