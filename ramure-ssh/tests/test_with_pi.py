"""Whole programs whose agents, the real pi in the real tmux, work on an SSH host."""

import pytest

import parts
from quick_start import run_task
from ramure import agent_process
from ramure.testing import ScriptedModel, ToolCall

pytestmark = pytest.mark.pi


@pytest.fixture
def pi_there(keys):
    """The environment of a host that has pi."""
    return parts.pi_environment()


on_the_host = agent_process(host="ssh://own", timeout=150)(run_task)


async def test_the_quick_start(new_server, pi_there, ramure_home, there):
    new_server(env=pi_there)
    script = [
        ToolCall("bash", command="echo $HOME"),
        lambda request: ToolCall("finish", summary=request.results[0].text.strip()),
        "Goodbye.",
    ]
    async with ScriptedModel(script) as model:
        assert await on_the_host("Write haikus.", env=model.env()) == str(there)
    assert not list((ramure_home / "runtimes").iterdir())
    assert not (there / ".ramure" / "machines").exists()
