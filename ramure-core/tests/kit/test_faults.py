"""Faults at every await: which ones are met, and what the library makes of them."""

import asyncio

import anyio
import pytest

from ramure import agent, agent_process, done, wait
from ramure.errors import LinkBroken, RamureError
from ramure.plugins import Plugins
from ramure.testing import ScriptedHarness, ToolCall
from ramure.testing._stage import processes_with
from ramure.testing.faults import (
    FaultyMachine,
    cancels,
    delays,
    every_point,
    faulty,
    raises,
    script,
    seeded,
)
from ramure.testing.machines import MachineContract
from ramure.testing.memory import MemoryMachine

DEAD = "the line is dead"


def dead():
    return LinkBroken(DEAD)


# --- which are met


async def use(machine):
    await machine.write_file("file", "x")
    assert (await machine.exec(["cat", "file"])).stdout == "x"
    await machine.read_file("file")


async def test_without_a_fault_it_is_the_machine(ramure_home):
    faults = script({})
    await use(FaultyMachine(MemoryMachine(), faults))
    kinds = [operation.kind for operation in faults.operations]
    assert (kinds[:2], kinds[-1]) == (["write_file", "open_process"], "read_file")
    assert {"wait", "receive", "aclose"} <= {*kinds}
    assert faults.harmed == []


async def test_every_point_is_met_once():
    met = []
    for point in every_point(raises(dead())):
        try:
            await use(FaultyMachine(MemoryMachine(), point))
        except LinkBroken:
            assert point.met
        met.append(point.met)
    assert met.count(None) == 2  # in the last round of each moment all goes well
    for moment in ("before", "after"):
        numbers = [
            operation.number for operation in met if operation and operation.moment == moment
        ]
        assert len({*numbers}) == len(numbers) >= 6
        if moment == "before":  # the end of a stream has no afterwards
            assert {*numbers} == {*range(1, len(numbers) + 1)}
    assert str(point) == f"after operation {point.n}: nothing"


async def test_some_kinds_only():
    kinds = {point.met and point.met.kind for point in [p async for p in rounds(["read_file"])]}
    assert kinds == {"read_file", None}


async def rounds(kinds):
    for point in every_point(raises(dead()), kinds=kinds, moments=["before"]):
        try:
            await use(FaultyMachine(MemoryMachine(), point))
        except LinkBroken:
            assert point.met
        yield point


async def test_a_fault_afterwards_comes_when_all_is_done():
    machine = MemoryMachine()
    faults = script({"write_file": [raises(dead())]}, moment="after")
    with pytest.raises(LinkBroken):
        await FaultyMachine(machine, faults).write_file("file", "x")
    assert await machine.read_file("file") == b"x"


async def test_what_was_started_and_then_harmed_is_ended():
    machine = MemoryMachine()
    faults = script({"open_process": [raises(dead())]}, moment="after")
    with pytest.raises(LinkBroken):
        await FaultyMachine(machine, faults).open_process(["sleep", "1000"])
    assert not machine._memory.running


async def test_a_script_by_kinds():
    faults = script({"read_file": [None, raises(dead())], "exec": []})
    machine = FaultyMachine(MemoryMachine(), faults)
    await use(machine)
    with pytest.raises(LinkBroken):
        await machine.read_file("file")
    await machine.read_file("file")
    assert [operation.of_kind for operation in faults.harmed] == [2]


async def test_chance_can_be_repeated():
    async def harmed(seed):
        faults = seeded(seed, delays(0), rate=0.3, kinds=["read_file", "write_file"])
        machine = FaultyMachine(MemoryMachine(), faults)
        for _ in range(20):
            await machine.write_file("file", "x")
            await machine.read_file("file")
        return faults.harmed

    assert await harmed(1) == await harmed(1) != await harmed(2)
    assert 1 < len(await harmed(1)) < 40


async def test_somebody_is_cancelled_just_then():
    with anyio.CancelScope() as scope:
        faults = script({"read_file": [cancels(scope.cancel)]})
        await FaultyMachine(MemoryMachine(), faults).read_file("file")
    assert scope.cancelled_caught


class TestFaultyMachine(MachineContract):
    """Without a fault, or with short delays, it keeps the contract."""

    shell = False

    @pytest.fixture
    async def machine(self):
        machine = FaultyMachine(MemoryMachine(), seeded(7, delays(0.001), rate=0.2))
        yield machine
        await machine.destroy()


# --- the library's own agents and their cleanup, on this computer, at every point

MARK = "RAMURE_SWEPT"


@pytest.fixture
def swept(ramure_home, monkeypatch, tmp_path):
    """Runs a program with an agent in a process of its own; sees that nothing is left."""
    monkeypatch.setenv(MARK, str(tmp_path))

    @agent_process
    async def program():
        harness = ScriptedHarness([ToolCall("finish", summary="42"), "Bye."], process=True)
        worker = await agent("worker", harness=harness)

        @worker.on("finish")
        async def finish(summary: str) -> str:
            """Call with the result."""
            done(summary)
            return "Recorded."

        await worker.send("Do it.")
        return await wait()

    def nothing_left(point):
        assert not [*ramure_home.glob("runtimes/*")], str(point)
        assert not processes_with(f"{MARK}={tmp_path}"), str(point)

    return program, nothing_left


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_wherever_the_line_breaks_nothing_is_left(swept, moment):
    program, nothing_left = swept
    errors, last = {}, None
    for last in every_point(raises(dead()), moments=[moment]):
        with faulty("local", last), anyio.fail_after(60):
            try:
                assert await program() == "42", last
            except RamureError as error:
                errors[last.met.kind] = str(error)
        nothing_left(last)
    assert last.n > 8
    assert all(DEAD in error for error in errors.values()), errors
    assert {"provision", "open_process"} <= {*errors}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_wherever_it_is_cancelled_nothing_is_left(swept, moment):
    program, nothing_left = swept
    tasks, last = [], None

    def cancel():
        tasks[-1].cancel()

    for last in every_point(cancels(cancel), moments=[moment]):
        with faulty("local", last), anyio.fail_after(60):
            tasks.append(asyncio.ensure_future(program()))
            try:
                assert await tasks[-1] == "42", last
            except asyncio.CancelledError:
                assert last.met
        nothing_left(last)
    assert last.n > 8


async def test_programs_get_the_backend_back():
    before = Plugins.load()
    with faulty("local", script({})):
        assert Plugins.load().backend("local").load != before.backend("local").load
    assert Plugins.load() is before
