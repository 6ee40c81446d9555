"""A machine that the tests of a class share: making one for each takes longer than most tests."""

from contextlib import nullcontext

import pytest

from ramure.testing.machines import MachineContract

EMPTY = 'case $1 in /?*/?* | /work) cd "$1" && rm -rf -- ..?* .[!.]* * ;; *) exit 1 ;; esac'
"""Empties a folder that was made for it: not one that a system has of its own."""

OWN = {
    # end it
    "test_destroying",
    "test_destroying_ends_what_runs",
    # leave something that runs
    "test_a_normal_end_does_not_wait_for_children",
    "test_a_normal_end_kills_nothing",
    "test_leaving_kills_nothing_of_what_has_ended",
    "test_waiting_does_not_mind_children",
}
"""Tests that change a machine for good; so do those that bring tools to it."""


def needs_its_own(test):
    return test.originalname in OWN or test.function.__module__.endswith("_contract_equip")


class SharesMachine:
    """Goes before a contract suite.

    The package's ``conftest`` has ``make``, and ``make_for_class``, whose machines last as long as
    the class.
    """

    async def new(self, make):
        """Make a machine by ``make``."""
        raise NotImplementedError

    def around(self, machine):
        """What each test runs in."""
        return nullcontext()

    @pytest.fixture
    def machine(self, request):
        return request.getfixturevalue("own" if needs_its_own(request.node) else "shared")

    @pytest.fixture(scope="class")
    async def lasting(self, make_for_class):
        return await self.new(make_for_class)

    @pytest.fixture
    async def shared(self, lasting):
        """With an empty working directory, where that is promised."""
        if isinstance(self, MachineContract):
            await lasting.exec(["sh", "-c", EMPTY, "empty", lasting.workdir], cwd="/", check=True)
        async with self.around(lasting):
            yield lasting

    @pytest.fixture
    async def own(self, make):
        machine = await self.new(make)
        async with self.around(machine):
            yield machine
