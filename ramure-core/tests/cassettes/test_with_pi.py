"""The real pi records a provider, and works from the recording when the provider is gone."""

import json
import os
from pathlib import Path

import anyio
import pytest

import parts
from model_client import HANGS, every_api
from quick_start import run_task
from ramure import ModelFailed, agent_process
from ramure.testing import (
    Cassette,
    Drop,
    Fail,
    NoMatch,
    ScriptedModel,
    Text,
    Think,
    ToolCall,
    Usage,
)

pytestmark = pytest.mark.pi


@pytest.fixture(params=parts.PIS)
def pi(request, tmp_path):
    """Runs the real pi in a folder: gives its messages' ends."""
    package = parts.pi_package(request.param)
    own_node = Path(package).parents[1] / ".bin" / "node"
    cli = Path(package, "dist", "cli.js")
    command = [str(own_node) if own_node.exists() else "node", str(cli), "--mode", "json", "-p"]

    async def run(model, text, folder):
        work = tmp_path / folder
        work.mkdir()
        (work / "notes.txt").write_text("a haiku\n")
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [*command, text],
                cwd=work,
                env=os.environ | model.env() | {"HOME": str(tmp_path)},
                check=False,
            )
        events = [json.loads(line) for line in done.stdout.decode().splitlines()]
        return [event["message"] for event in events if event["type"] == "message_end"]

    return run


def told(messages):
    """What the model said and what came of it, without times and ids."""
    blocks = [
        (message["role"], block.get("text"), block.get("name"), block.get("arguments"))
        for message in messages
        for block in message["content"]
    ]
    costs = [message["usage"]["cost"] for message in messages if message["role"] == "assistant"]
    return blocks, costs


SCRIPT = [
    Fail(500),
    [Text("half"), Drop()],
    [
        Think("two things at once"),
        Text("Let me see.", chunk=4),
        ToolCall("bash", command="echo from $((40 + 2)); date; pwd"),
        ToolCall("read", path="notes.txt"),
    ],
    [Text("There is a haiku."), Usage(10_000, 5_000, 1_000)],
]


@every_api
async def test_pi_works_from_a_recording(pi, api, studio):
    async with studio.record(SCRIPT, api=api, model="acme/scripted") as model:
        recorded = await pi(model, "what is there?", "then")
    assert len(studio.real.requests) == 4
    assert len(studio.content["interactions"]) == 4
    assert studio.key.startswith("scripted-")
    assert studio.key not in studio.text
    assert model.key not in studio.text
    async with studio.play() as model:  # the provider is gone
        replayed = await pi(model, "what is there?", "now")
    assert model.unused == []
    blocks, costs = told(replayed)
    assert costs == told(recorded)[1]
    spoken = [block for block in blocks if block[0] == "assistant"]
    assert spoken == [block for block in told(recorded)[0] if block[0] == "assistant"]
    assert ("assistant", "There is a haiku.", None, None) in spoken


@pytest.fixture
def real_pi(monkeypatch):
    for name, value in parts.pi_environment().items():
        monkeypatch.setenv(name, value)


async def test_a_program_is_recorded_with_the_persons_own_pi_and_replayed(
    real_pi, ramure_home, tmp_path, monkeypatch
):
    script = [
        ToolCall("bash", command="basename $(pwd)"),
        lambda request: ToolCall("finish", summary=f"in {request.results[0].text.strip()}"),
        "Goodbye.",
    ]

    async def run(folder, spec="Where are you?"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        process = agent_process(image=str(tmp_path / folder), timeout=HANGS)(run_task)
        return await process(spec)

    path = tmp_path / "it.json"
    async with ScriptedModel(script) as real:
        with monkeypatch.context() as persons:
            folder = real.pi_folder(tmp_path / "pi")
            persons.setenv("PI_CODING_AGENT_DIR", str(folder))
            async with Cassette(path, mode="record") as model:
                with model.use():
                    assert await run("one/it") == "in it"
    assert real.key not in path.read_text()
    async with Cassette(path, mode="replay") as model:
        with model.use():
            assert await run("two/it") == "in it"
    model = Cassette(path, mode="replay")

    async def ask_something_else():
        async with model:
            with model.use():
                await run("two/it", "Who are you?")

    with pytest.raises(ModelFailed) as raised:
        await ask_something_else()
    assert isinstance(model.errors[0], NoMatch)
    assert "Who are you?" in raised.value.__notes__[0]
