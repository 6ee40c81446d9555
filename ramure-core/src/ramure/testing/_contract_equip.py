"""The machine contract: tool sets are brought once, whole, and only where they are needed."""

from __future__ import annotations

import posixpath
import secrets
from pathlib import Path

import anyio
import pytest

from ramure.errors import ToolSetUnavailable
from ramure.machine import Machine
from ramure.testing._contract import Contract
from ramure.testing._greeter import Greeter, NotToBeHad
from ramure.toolset import ToolSet


class EquipContract(Contract):
    """Tests of ``equip`` and ``tool_folder``."""

    @pytest.fixture
    def greeter(self, folder: Path) -> Greeter:
        """A set of a name that no other test has: a machine may keep what it got."""
        return Greeter(folder, name=f"greeter-{secrets.token_hex(4)}")

    def home(self, machine: Machine) -> str:
        """Where sets are brought to."""
        return machine.tools_dir or posixpath.join(machine.state_dir, "tools")

    async def leave(self, machine: Machine, tools: ToolSet) -> None:
        """Remove what a test has brought to a folder that outlives the machine."""
        if folder := machine.tool_folder(tools):
            await machine.exec(["rm", "-rf", folder], cwd="/")

    async def sets(self, machine: Machine) -> list[str]:
        """What is in the folder of tool sets, hidden names too."""
        listed = await machine.exec(["ls", "-A", self.home(machine)], cwd="/")
        return listed.stdout.split()

    async def test_a_tool_set_is_brought_once(self, machine: Machine, greeter: Greeter) -> None:
        """Callers at the same time share one; what was brought works; nothing else is left."""
        before = await self.sets(machine)
        said: list[str] = []
        assert machine.tool_folder(greeter) is None
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(machine.equip, greeter, said.append)
        await machine.equip(greeter, said.append)
        try:
            assert len(greeter.platforms) == len(said) == 1
            folder = machine.tool_folder(greeter)
            assert folder == f"{self.home(machine)}/{greeter.key(greeter.platforms[0])}"
            assert (await machine.exec([f"{folder}/bin/hello"], cwd="/")).stdout == "hello\n"
            new = {*await self.sets(machine)} - {*before}
            assert new == {posixpath.basename(folder)}
        finally:
            await self.leave(machine, greeter)

    async def test_what_is_there_is_not_brought(self, machine: Machine, greeter: Greeter) -> None:
        """Where the machine has all that is needed, it gets nothing."""
        greeter.there = True
        before = await self.sets(machine)
        await machine.equip(greeter)
        assert machine.tool_folder(greeter) is None
        assert not greeter.platforms
        assert await self.sets(machine) == before

    async def test_a_tool_set_that_there_is_not(self, machine: Machine, folder: Path) -> None:
        """The error is the set's own; a later attempt may succeed."""
        with pytest.raises(ToolSetUnavailable, match="bring your own"):
            await machine.equip(NotToBeHad(folder, name="no-such"))
        greeter = Greeter(folder, name="no-such", there=True)
        await machine.equip(greeter)

    @pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.2])
    async def test_a_cancelled_equipping_leaves_nothing(
        self, machine: Machine, greeter: Greeter, seconds: float
    ) -> None:
        """Wherever it is cancelled, the set is there whole or not at all; and can be brought."""
        before = await self.sets(machine)
        with anyio.move_on_after(seconds):
            await machine.equip(greeter)
        left = {*await self.sets(machine)} - {*before}
        assert not [name for name in left if name.startswith(".")]
        try:
            await machine.equip(greeter)
            folder = machine.tool_folder(greeter)
            assert (await machine.exec([f"{folder}/bin/hello"], cwd="/")).stdout == "hello\n"
        finally:
            await self.leave(machine, greeter)
