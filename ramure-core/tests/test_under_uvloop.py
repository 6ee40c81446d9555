"""uvloop in asyncio's place: machines, both kinds of connections, and a whole program."""

import asyncio
import os
import sys

import pytest
import uvloop

from ramure import agent, agent_process, done, expose, machine, spawn, wait
from ramure.backends.local import LocalBackend, LocalImage
from ramure.testing import ScriptedHarness, ToolCall
from ramure.testing.machines import MachineContract
from ramure.testing.transports import TransportContract
from ramure.transports.direct import DirectTransport
from ramure.transports.websocket import WebSocketTransport
from ramure.values import Host


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def here(ramure_home, tmp_path):
    machine = await LocalBackend().provision(
        LocalImage(tmp_path), Host("local"), name="m1", labels={"ramure.run": "r"}
    )
    yield machine
    await machine.destroy()


async def test_it_is_uvloop():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


class TestLocalMachine(MachineContract):
    other_user = "nobody" if os.getuid() == 0 else None
    forbidden = None if os.getuid() == 0 else "/root"

    @pytest.fixture
    def machine(self, here):
        return here


class TestDirect(TransportContract):
    python = sys.executable

    @pytest.fixture
    def machine(self, here):
        return here

    @pytest.fixture
    def transport(self):
        return DirectTransport()


class TestWebSocket(TestDirect):
    port = True

    @pytest.fixture
    def transport(self):
        return WebSocketTransport()


@pytest.mark.parametrize("port", [None, 0])
def test_a_program(ramure_home, port):
    @agent_process(timeout=60, port=port)
    async def main():
        box = await machine()
        pool = spawn(counting)
        harness = ScriptedHarness([ToolCall("finish", summary="42")], process=True)
        worker = await agent("worker", machine=box, harness=harness)

        @worker.on("finish")
        async def finish(summary: str) -> str:
            said = await box.exec("cat", input=summary)
            done(said.stdout + await asyncio.to_thread(str, await pool.call("count")))
            return "Recorded."

        await worker.send("Go.")
        return await wait()

    @agent_process
    async def counting():
        @expose
        async def count():
            return 1

        await wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "421"
    assert not list(ramure_home.glob("runtimes/*"))
