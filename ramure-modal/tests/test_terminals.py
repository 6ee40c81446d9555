"""What a person does from a terminal: ``ramure connect`` and ``ramure ssh`` on a sandbox."""

import modal
import pytest

import parts
from ramure import agent, agent_process
from ramure.testing import ScriptedModel
from ramure_modal.image import ModalImage
from screens import HANGS, visit

pytestmark = pytest.mark.pi

HELLO = "Hello, I am the script."


async def test_connect_and_ssh(monkeypatch, cloud, ramure_home, tmp_path):
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    async with ScriptedModel([HELLO]) as model:
        cloud("internet", ports=[int(model.url.rpartition(":")[2])])
        model.pi_folder(tmp_path / "settings")
        bare = modal.Image.from_registry("bare:1")
        image = ModalImage(
            bare.add_local_dir(tmp_path / "settings", "/settings", copy=True),
            workdir="/work",
            env={"PI_CODING_AGENT_DIR": "/settings"},
        )

        @agent_process(image=image, timeout=2 * HANGS)
        async def main():
            await agent("worker")
            await visit("/work", HELLO)

        await main()
    assert not list((ramure_home / "runtimes").iterdir())
