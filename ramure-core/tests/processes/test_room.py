"""Hosts with limits: room that is taken, awaited, and given back."""

import asyncio
import logging

import anyio
import pytest

import ramure
from ramure import agent_process, current_process, current_runtime, machine
from ramure.operations import operations
from ramure.run import runtime
from ramure.run.journal import read_log

pytestmark = pytest.mark.usefixtures("ramure_home")


async def test_a_machine_that_the_program_destroys_gives_its_room_back():
    @agent_process(host={"local": 1})
    async def main():
        first = await machine()
        await first.destroy()
        await first.destroy()
        assert first.name not in current_runtime().tenancies
        with anyio.fail_after(20):
            second = await machine()
        return first.name, second.name

    first, second = await main()
    assert first != second


async def test_two_that_wait_get_the_room_of_two(monkeypatch):
    @agent_process(host={"local": 2})
    async def main():
        held = [await machine(), await machine()]
        waiting = [asyncio.create_task(machine()) for _ in range(2)]
        while len(current_runtime().waits) < 2:
            await anyio.sleep(0.01)
        for box in held:
            await box.destroy()
        with anyio.fail_after(20):
            return len(await asyncio.gather(*waiting))

    assert await main() == 2


async def test_a_wait_for_room_is_seen_and_ends_with_the_process(caplog, monkeypatch):
    """One that nothing can end: the process itself holds all the room."""
    monkeypatch.setattr(runtime, "LONG_WAIT", 0.1)
    seen = {}

    @agent_process(host={"local": 1}, timeout=2)
    async def main():
        first = await machine()
        methods = operations(current_process())

        async def look():
            while not caplog.records:
                await anyio.sleep(0.01)
            seen["status"] = await methods["status"]()
            seen["logs"] = current_runtime().logs
            seen["first"] = first.name

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(look())
            await machine()

    with caplog.at_level(logging.WARNING, "ramure"), pytest.raises(ramure.ProcessTimeout):
        await main()
    (wait,) = seen["status"]["waiting"]
    assert wait["hosts"] == {"local": 1}
    assert wait["held_by"] == [seen["first"]]
    assert f"waits for room on local (at most 1); there are: {seen['first']}" in caplog.text
    told = [e async for e in read_log(seen["logs"] / "_runtime.jsonl", type="machine_waiting")]
    assert [event.data["machine"] for event in told] == [wait["machine"]]


async def test_room_that_another_run_of_the_program_holds(caplog, monkeypatch):
    monkeypatch.setattr(runtime, "LONG_WAIT", 0.1)
    held, told = asyncio.Event(), asyncio.Event()

    @agent_process(host={"local": 1})
    async def one():
        await machine()
        held.set()
        await told.wait()

    @agent_process(host={"local": 1}, timeout=60)
    async def other():
        return (await machine()).name

    async def watch():
        await held.wait()
        while "those of other runs" not in caplog.text:
            await anyio.sleep(0.01)
        told.set()

    async def later():
        await held.wait()
        return await other()

    with anyio.fail_after(60):
        await asyncio.gather(one(), later(), watch())


async def test_opening_a_route_to_one_machine_does_not_hold_up_another(monkeypatch):
    from ramure.transports.direct import DirectTransport

    opened = DirectTransport.open
    never = asyncio.Event()

    async def open_slowly(self, box, target):
        if slow and box is slow[0]:
            await never.wait()
        return await opened(self, box, target)

    slow = []
    monkeypatch.setattr(DirectTransport, "open", open_slowly)

    @agent_process
    async def main():
        slow.append(await machine())
        other = await machine()
        async with asyncio.TaskGroup() as tasks:
            stuck = tasks.create_task(current_runtime().route(slow[0]))
            await asyncio.sleep(0)
            with anyio.fail_after(20):
                route = await current_runtime().route(other)
            stuck.cancel()
        return route.address

    assert (await main()).startswith("unix:")
