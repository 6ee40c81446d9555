"""A host at the far end of a cable that is pulled: nobody is told, all just falls silent."""

import random

import anyio
import pytest

import namespaces
import parts
from ramure import agent, agent_process, done, wait
from ramure.errors import LinkBroken
from ramure.testing import ScriptedModel, ToolCall

HANGS = 120


@pytest.fixture(scope="session")
def cables_there():
    if why := namespaces.missing():
        parts.lacking(why)


@pytest.fixture
def cable(cables_there):
    with namespaces.cable() as cable:
        yield cable


@pytest.fixture
def far_server(new_server, cable):
    """A host at the far end."""

    def make(**options):
        return new_server(address=cable.there, wrap=cable.wrap, port=2222, **options)

    return make


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.05)


async def test_a_pulled_cable_loses_nothing(far_server, cable, provision, there):
    far_server()
    machine = await provision(host="own", relay=True, lease=60, keepalive=1)
    out = []

    async def run():
        out.append(await machine.exec("for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; date >end"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(1.5)
        cable.pull()
        await until((there / "end").exists)  # it goes on by itself
        connection = machine.plain.connection
        await until(lambda: not connection.up)  # and we have noticed
        cable.plug()
    assert out[0].stdout.split() == [*"123456"]
    await machine.destroy()


@pytest.mark.parametrize("relay", [False, True])
async def test_deadlines_while_the_cable_is_out(far_server, cable, provision, relay):
    far_server()
    machine = await provision(host="own", relay=relay, lease=60, keepalive=5)
    result = []

    async def run():
        result.append(await machine.exec("sleep 1000", timeout=2))

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(1)
            cable.pull()
        assert result[0].timed_out
        assert result[0].duration < 2 + (10 if relay else 4)
        with anyio.move_on_after(1) as scope:
            await machine.exec("sleep 1000")
        assert scope.cancelled_caught
        cable.plug()
        assert (await machine.exec("echo back")).stdout == "back\n"
    await machine.destroy()


async def test_a_cable_that_stays_out(far_server, cable, provision, there):
    far_server()
    machine = await provision(host="own", relay=True, lease=5, keepalive=1)
    await machine.exec("(exec setsid sleep 1000) >/dev/null 2>&1 & echo $! >pid")
    cable.pull()
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken):
        await machine.exec("true")
    machines = there / ".ramure" / "machines"
    await until(lambda: not machines.exists() or not list(machines.iterdir()))
    cable.plug()


async def test_a_narrow_cable(far_server, cable, provision, tmp_path):
    far_server()
    machine = await provision(host="own", relay=True)
    cable.narrow("16mbit")
    data = random.Random(1).randbytes(2_000_000)
    (tmp_path / "file").write_bytes(data)
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(machine.upload, tmp_path / "file", "file")
            for _ in range(3):  # is not held up by the file for longer than what is on its way
                assert (await machine.exec("echo here")).stdout == "here\n"
        await machine.download("file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    await machine.destroy()


@pytest.mark.pi
async def test_an_agent_works_on_while_the_cable_is_out(far_server, cable, ramure_home, there):
    far_server(env=parts.pi_environment())
    notes = []

    @agent_process(host="ssh://own", timeout=2 * HANGS)
    async def main(env):
        worker = await agent("worker", env=env)

        @worker.on("note")
        async def note(n: int) -> str:
            notes.append(n)
            if n == 1:
                cable.pull()
            return "Noted."

        @worker.on("finish")
        async def finish(summary: str) -> str:
            done(summary)
            return "Recorded."

        await worker.send("Take notes, then finish.")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plug_again)
            return await wait()

    async def plug_again():
        await until(lambda: 1 in notes)
        await anyio.sleep(60)  # noticed on both sides, long since
        cable.plug()

    script = [*(ToolCall("note", n=n) for n in range(4)), ToolCall("finish", summary="noted"), ""]
    async with ScriptedModel(script) as model:
        port = int(model.url.rpartition(":")[2])
        async with namespaces.door(cable, port, there / "model"):
            assert await main(model.env()) == "noted"
    assert notes == [0, 1, 2, 3]
    assert not list((ramure_home / "runtimes").iterdir())
