"""The machine contract through a relay, with a good link and with one that breaks all the time."""

import os

import pytest

from ramure.testing.machines import MachineContract

ROOT = os.getuid() == 0


class TestRelayedMachine(MachineContract):
    other_user = "nobody" if ROOT else None
    forbidden = None if ROOT else "/root"

    @pytest.fixture
    async def machine(self, relayed):
        return relayed


class TestRelayedMachineWithCuts(TestRelayedMachine):
    big = 5_000_000  # what does not fit between two cuts has to be sent again in parts

    @pytest.fixture
    async def machine(self, relayed, cutting):
        async with cutting(relayed, every=0.2):
            yield relayed
