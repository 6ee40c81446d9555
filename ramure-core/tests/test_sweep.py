"""Cleaning up after dead runs, whose machines are on hosts that answer, fail or say nothing."""

import anyio
import pytest

import odd_hosts
from odd_hosts import OddHosts as Hosts
from ramure import paths
from ramure.plugins import Plugins
from ramure.run import host, ledger, removals, sweep
from ramure.values import MachineRef

HANGS = 30


@pytest.fixture
def plugins(ramure_home, monkeypatch):
    monkeypatch.setattr(removals, "FIND_WITHIN", 0.5)
    for seen in (Hosts.asked, Hosts.destroyed, Hosts.at_once):
        seen.clear()
    return Plugins.of(odd=odd_hosts)


def dead_run(name, run=None, **machines):
    """The folder of a run that died with these machines, each with its host; ``run``: where."""
    folder = paths.make_private(paths.runtimes() / name)
    written = ledger.Ledger(folder)
    if run:
        written.run(id=name, **run)
    for machine, place in machines.items():
        written.making(machine, "odd", f"odd://{place}", durable=False)
        written.made(MachineRef("odd", machine, {}), machine)
    written.close()
    (folder / sweep.LOCK).touch()
    return folder


async def test_a_host_that_says_nothing_holds_up_no_other(plugins):
    stuck = [dead_run(f"stuck{n}", **{f"s{n}": "silent"}) for n in range(20)]
    mixed = dead_run("mixed", m1="silent", m2="good", m3="broken")
    fine = dead_run("zzz", z1="good", z2="other")
    with anyio.fail_after(HANGS):
        swept = await sweep.sweep_all(sweep.dead_runs(), plugins)
    assert not fine.exists()
    assert swept["zzz"] == ["z1", "z2"] or swept["zzz"] == ["z2", "z1"]
    assert swept["mixed"] == ["m2"]
    assert mixed.exists()
    assert all(folder.exists() for folder in stuck)
    assert Hosts.asked.count("silent") == 1, "it is asked once for all runs"


async def test_a_machine_that_cannot_be_removed_stays_in_the_ledger(plugins):
    machines = {f"m{n}": "good" for n in range(20)}
    folder = dead_run("run", bad="good", **machines)
    assert sorted(await sweep.sweep(folder, plugins)) == sorted(machines)
    assert folder.exists()
    assert Hosts.asked == ["good"], "a host is asked once"
    assert 1 < max(Hosts.at_once) <= removals.MACHINES_AT_ONCE


async def test_a_run_that_lives_is_left_alone(plugins):
    folder = dead_run("run", m1="good")
    with sweep.lock(folder):
        assert await sweep.sweep_all([folder], plugins) == {}
    assert not Hosts.destroyed


HERE = {"host": "box", "boot": "b1", "machine": "m1"}
CONTAINED = {"host": "c0ffee", "boot": "b1", "machine": ""}
OF_BEFORE = {"host": "box"}  # a ledger of an earlier version


@pytest.mark.parametrize(
    ("run", "here", "ours"),
    [
        (HERE, HERE, True),
        (HERE, {**HERE, "host": "renamed"}, True),
        (HERE, {**HERE, "boot": "b2"}, True),
        (HERE, {**HERE, "boot": "b2", "host": "renamed"}, True),
        (HERE, {**HERE, "boot": "b2", "machine": "m2"}, False),
        (HERE, {**HERE, "boot": "b2", "machine": "m2", "host": "other"}, False),
        (CONTAINED, {**CONTAINED, "host": "beef"}, True),
        (CONTAINED, {**CONTAINED, "boot": "b2"}, True),
        (CONTAINED, {**CONTAINED, "boot": "b2", "host": "beef"}, False),
        (CONTAINED, HERE, True),
        (OF_BEFORE, HERE, True),
        (OF_BEFORE, {**HERE, "host": "other"}, False),
        ({}, HERE, True),
    ],
)
async def test_whose_run_it_is(plugins, monkeypatch, run, here, ours):
    """A renamed or restarted computer's, and a new container's on the same one, is cleaned up."""
    monkeypatch.setattr(host, "identity", lambda: here)
    folder = dead_run("run", run=run, m1="good")
    assert sweep.dead_runs() == ([folder] if ours else [])
    assert sweep.runs_elsewhere() == ({} if ours else {"run": run["host"]})
    await sweep.sweep_all([folder], plugins)
    assert folder.exists() is not ours
    assert bool(Hosts.destroyed) is ours


def test_a_container_has_no_identity_of_its_images_making(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef\n")
    own = host.identity(tmp_path)["machine"]
    assert own
    assert "0123456789abcdef" not in own
    host.identity.cache_clear()
    (tmp_path / ".dockerenv").touch()
    assert host.identity(tmp_path)["machine"] == ""
