"""What a person does from a terminal: ``ramure connect`` and ``ramure ssh`` on an SSH machine."""

import pytest

import parts
from ramure import agent, agent_process
from ramure.testing import ScriptedModel
from ramure_ssh.image import SSHImage
from screens import HANGS, visit

pytestmark = pytest.mark.pi

HELLO = "Hello, I am the script."


@pytest.mark.parametrize("relay", [True, False])
async def test_connect_and_ssh(new_server, keys, ramure_home, there, relay):
    new_server(env=parts.pi_environment())

    @agent_process(host="ssh://own", image=SSHImage(relay=relay), timeout=2 * HANGS)
    async def main(env):
        await agent("worker", env=env)
        await visit(str(there), HELLO)

    async with ScriptedModel([HELLO]) as model:
        await main(model.env())
    assert not (there / ".ramure" / "machines").exists()
