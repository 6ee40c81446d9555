"""The machine contract through a relay: a good link, one that breaks all the time, a far one."""

import os
import shutil
import tempfile
import time
from contextlib import nullcontext

import pytest

from far_machines import PlainMachine, cuts
from late_links import LATENCY
from ramure.relay import RelayedMachine
from ramure.testing.machines import MachineContract

ROOT = os.getuid() == 0


class TestRelayedMachine(MachineContract):
    other_user = "nobody" if ROOT else None
    forbidden = "/root"

    def harmed(self, machine):
        """What is done to a machine's link meanwhile: nothing."""
        return nullcontext()

    @pytest.fixture
    async def machine(self, relayed):
        async with self.harmed(relayed):
            yield relayed

    async def test_what_is_forbidden(self, machine, plain):
        if not ROOT:
            return await super().test_what_is_forbidden(machine)
        folder = tempfile.mkdtemp(prefix="relay-")  # where root's own are, nobody may not look
        shutil.chown(folder, "nobody")
        another = PlainMachine(plain.local)
        another.user, another.state_dir, another.workdir = "nobody", folder, "/"
        nobodys = await RelayedMachine.over(another, lease=20, heartbeat=0)
        try:
            async with self.harmed(nobodys):
                assert (await nobodys.exec("id -un")).stdout == "nobody\n"
                await super().test_what_is_forbidden(nobodys)
        finally:
            await nobodys.relay.aclose()
            shutil.rmtree(folder)


class TestRelayedMachineWithCuts(TestRelayedMachine):
    big = 5_000_000  # what does not fit between two cuts has to be sent again in parts

    def harmed(self, machine):
        return cuts(machine, every=0.2)


class TestRelayedMachineFarAway(TestRelayedMachine):
    big = 5_000_000

    @pytest.fixture
    async def machine(self, far):
        return far

    async def test_it_is_far_away(self, machine):
        before = time.monotonic()
        await machine.exec("true")
        assert time.monotonic() - before >= 2 * LATENCY
