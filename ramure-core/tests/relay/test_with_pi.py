"""A whole program whose agent, the real pi, works on a machine that only a relay reaches."""

import anyio
import pytest

import far_machines
import parts
from far_machines import FarBackend, cuts
from ramure import agent, agent_process, done, wait
from ramure.plugins import Plugins
from ramure.testing import ScriptedModel, ToolCall

pytestmark = pytest.mark.pi


@pytest.fixture
def far(monkeypatch, ramure_home):
    """The backend is installed, and pi is on its machines."""
    for name, value in parts.pi_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Plugins, "load", lambda: Plugins.of(far=far_machines))


@pytest.mark.parametrize("broken", [False, True], ids=["", "cut"])
async def test_the_quick_start(far, ramure_home, broken):
    calls = []

    @agent_process(host="far", timeout=150)
    async def main():
        worker = await agent("worker")

        @worker.on("note")
        async def note(n: int) -> str:
            calls.append(n)
            return "Noted."

        @worker.on("finish")
        async def finish(summary: str) -> str:
            done(summary)
            return "Recorded."

        await worker.send("Take notes, then finish.")
        if not broken:
            return await wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_again_and_again)
            result = await wait()
            tasks.cancel_scope.cancel()
        return result

    async def cut_again_and_again():
        async with cuts(FarBackend.made[-1], every=0.3):
            await anyio.sleep_forever()

    script = [*(ToolCall("note", n=n) for n in range(5)), ToolCall("finish", summary="noted"), ""]
    async with ScriptedModel(script) as model:
        with model.use():
            assert await main() == "noted"
    assert calls == [0, 1, 2, 3, 4]
    assert not list((ramure_home / "runtimes").iterdir())
