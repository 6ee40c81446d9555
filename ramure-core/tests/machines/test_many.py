"""Machines that end together share the looks for what is left of them: each still loses all."""

import anyio
import psutil

from ramure.backends.local import LocalBackend, LocalImage
from ramure.values import Host

MANY = 20
STRAY = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"


async def test_each_is_rid_of_its_own(ramure_home, tmp_path):
    machines, strays = [await provision(f"m{number}", tmp_path) for number in range(MANY)], []
    kept = machines.pop()
    for machine in [*machines, kept]:
        started = await machine.exec(STRAY, check=True)
        strays.append(psutil.Process(int(started.stdout)))
    async with anyio.create_task_group() as tasks:
        for machine in machines:
            tasks.start_soon(machine.destroy)
    assert [runs(stray) for stray in strays] == [False] * (MANY - 1) + [True]
    await kept.destroy()
    assert not runs(strays[-1])


async def test_some_are_made_while_the_last_of_others_end(ramure_home, tmp_path):
    """What the last one removes is not taken from under the next."""

    async def come_and_go(name):
        for number in range(MANY):
            machine = await provision(f"{name}{number}", tmp_path)
            assert (await LocalBackend().attach(machine.ref)).workdir == str(tmp_path)
            await machine.destroy()

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(come_and_go, name)
    assert list(ramure_home.glob("runtimes/r/*")) == []


async def provision(name, workdir):
    return await LocalBackend().provision(
        LocalImage(workdir), Host("local"), name=name, labels={"ramure.run": "r"}
    )


def runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
