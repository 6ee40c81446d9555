"""Whole programs whose agents, the real pi in the real tmux, work on an SSH host."""

import os
from pathlib import Path

import pytest

from ramure import agent, agent_process, done, fail, wait
from ramure.testing import ScriptedModel, ToolCall

pytestmark = pytest.mark.pi


@pytest.fixture
def pi_there(keys):
    """The environment of a host that has pi."""
    where = os.environ.get("RAMURE_TEST_PI_22")
    if not where:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("RAMURE_TEST_PI_22 names no pi: run make setup")
    node = Path(where).parents[1] / ".bin"
    return {"RAMURE_PI": where, "PATH": f"{node}:{os.environ['PATH']}"}


@agent_process
async def run_task(spec, env):
    worker = await agent("worker", env=env)

    @worker.on("finish")
    async def on_finish(summary: str) -> str:
        """Call with your result when the task is done."""
        done(summary)
        return "Recorded."

    @worker.on("give_up")
    async def on_give_up(reason: str) -> str:
        """Call if you cannot complete the task."""
        fail(f"gave_up: {reason}")
        return "Recorded."

    await worker.send(f"Task:\n\n{spec}\n\nWhen done, call finish(summary).")
    return await wait()


@agent_process(host="ssh://own", timeout=150)
async def quick_start(spec, env):
    return await run_task(spec, env)


async def test_the_quick_start(new_server, pi_there, ramure_home, there):
    new_server(env=pi_there)
    script = [
        ToolCall("bash", command="echo $HOME"),
        lambda request: ToolCall("finish", summary=request.results[0].text.strip()),
        "Goodbye.",
    ]
    async with ScriptedModel(script) as model:
        assert await quick_start("Write haikus.", model.env()) == str(there)
    assert not list((ramure_home / "runtimes").iterdir())
    assert not (there / ".ramure" / "machines").exists()
