"""The quick start, with the real pi in a real tmux in a sandbox that has neither."""

from pathlib import Path

import modal
import pytest

import parts
import quick_start
from ramure import agent_process
from ramure.testing import ScriptedModel, ToolCall
from ramure_modal.image import ModalImage

pytestmark = pytest.mark.pi

HANGS = 200
SECRET = "a-secret-of-the-agents"

SCRIPT = [
    ToolCall("bash", command="echo $((6 * 7)) $(pwd)"),
    lambda request: ToolCall("finish", summary=request.results[0].text.strip()),
    "Goodbye.",
]


@pytest.fixture
def pi(monkeypatch, cloud, ramure_home):
    """This computer has pi."""
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())


async def test_the_quick_start(pi, cloud, ramure_home, tmp_path, capfd):
    """The sandbox reaches the model, as one in the cloud does; the run it does not."""
    async with ScriptedModel(SCRIPT) as model:
        cloud("internet", ports=[int(model.url.rpartition(":")[2])])
        model.pi_folder(tmp_path / "settings")
        bare = modal.Image.from_registry("bare:1")
        image = ModalImage(
            bare.add_local_dir(tmp_path / "settings", "/settings", copy=True),
            workdir="/work",
            env={"PI_CODING_AGENT_DIR": "/settings"},
        )
        task = agent_process(image=image, timeout=HANGS)(quick_start.run_task)
        assert await task("Sum it.") == "42 /work"
        uploads = cloud("calls")["BlobCreate"]
        layers = []

        async def keep(machine):
            """A snapshot of a working agent's sandbox."""
            assert SECRET in (await machine.exec("cat /proc/[0-9]*/environ")).stdout
            await machine.write_file("draft", "the work")
            kept = await machine.snapshot()
            layers.append(Path(cloud("images")[kept.source][0]))

        assert await task("Sum it again.", env={"MINE": SECRET}, prepare=keep) == "42 /work"
        files = [path.read_bytes() for path in layers[0].rglob("*") if path.is_file()]
    assert b"the work" in files
    assert not [it for it in files if SECRET.encode() in it]
    assert cloud("calls")["BlobCreate"] == uploads  # Modal had the layers
    assert not list((ramure_home / "runtimes").iterdir())
    assert "bringing pi" not in capfd.readouterr().err  # it came with the image
