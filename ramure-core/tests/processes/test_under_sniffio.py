"""A program run by ``asyncio.run`` where sniffio is installed: the tests' own loop hides it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import sniffio

from ramure import agent, agent_process, done, wait
from ramure.testing.harness import ScriptedHarness
from ramure.testing.script import ToolCall


@agent_process(timeout=60)
async def echo():
    worker = await agent("worker", harness=ScriptedHarness([ToolCall("finish", summary="42")]))

    @worker.on("finish")
    async def finish(summary: str) -> str:
        done(summary)
        return "Recorded."

    await worker.send("Go.")
    return await wait()


def test_tools_are_called(ramure_home):
    # A thread of its own: it inherits nothing that says which event loop this is.
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(asyncio.run, echo()).result(120) == "42"
        library = threads.submit(sniffio.current_async_library_cvar.get).result()
    assert library is None
