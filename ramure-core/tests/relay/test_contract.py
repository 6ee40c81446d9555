"""The machine contract through a relay: a good link, one that breaks all the time, a far one."""

import os
import shutil
import tempfile
import time

from far_machines import PlainMachine, cuts
from late_links import LATENCY
from ramure.relay import RelayedMachine
from ramure.testing.machines import MachineContract
from shared_machines import SharesMachine

ROOT = os.getuid() == 0


class TestRelayedMachine(SharesMachine, MachineContract):
    other_user = "nobody" if ROOT else None
    forbidden = "/root"

    async def new(self, make):
        return await make()

    async def test_what_is_forbidden(self, machine):
        if not ROOT:
            return await super().test_what_is_forbidden(machine)
        folder = tempfile.mkdtemp(prefix="relay-")  # where root's own are, nobody may not look
        shutil.chown(folder, "nobody")
        another = PlainMachine(machine.plain.local)
        another.user, another.state_dir, another.workdir = "nobody", folder, "/"
        nobodys = await RelayedMachine.over(another, lease=20, heartbeat=0)
        try:
            async with self.around(nobodys):
                assert (await nobodys.exec("id -un")).stdout == "nobody\n"
                await super().test_what_is_forbidden(nobodys)
        finally:
            await nobodys.relay.aclose()
            shutil.rmtree(folder)


class TestRelayedMachineWithCuts(TestRelayedMachine):
    big = 5_000_000  # what does not fit between two cuts has to be sent again in parts

    def around(self, machine):
        return cuts(machine, every=0.2)


class TestRelayedMachineFarAway(TestRelayedMachine):
    big = 5_000_000

    async def new(self, make):
        return await make(late=LATENCY)

    async def test_it_is_far_away(self, machine):
        before = time.monotonic()
        await machine.exec("true")
        assert time.monotonic() - before >= 2 * LATENCY
