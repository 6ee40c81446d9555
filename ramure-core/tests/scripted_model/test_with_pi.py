"""The scripted model and the real pi."""

import json
import os
import stat
from pathlib import Path

import anyio
import pytest

import parts
from model_client import HANGS, every_api
from ramure.testing import (
    Drop,
    Fail,
    ScriptedModel,
    Text,
    Think,
    ToolCall,
    Usage,
)


async def test_a_folder_for_pi_is_the_owners_alone(tmp_path):
    async with ScriptedModel({"writer": ["x"], "reviewer": ["y"]}) as model:
        apis = ["anthropic-messages", "openai-responses"]
        folder = model.pi_folder(tmp_path / "a" / "pi", apis=apis, settings={"theme": "light"})
        model.pi_folder(folder, apis=apis, settings={"theme": "light"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"models.json": 0o600, "settings.json": 0o600}
    providers = json.loads((folder / "models.json").read_text())["providers"]
    assert {n: p["baseUrl"][-3:] == "/v1" for n, p in providers.items()} == {
        "scripted": False,
        "scripted-openai-responses": True,
    }
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["defaultModel"], settings["theme"]) == ("writer", "light")


async def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.delenv("PI_CODING_AGENT_DIR", raising=False)
    async with ScriptedModel(["x"]) as model:
        with model.use():
            folder = os.environ["PI_CODING_AGENT_DIR"]
            assert os.environ["OPENAI_API_KEY"] == model.key
            assert await anyio.Path(folder, "models.json").exists()
        assert os.environ["OPENAI_API_KEY"] == "mine"
        assert "PI_CODING_AGENT_DIR" not in os.environ
    assert not await anyio.Path(folder).exists()


real_pi = pytest.mark.pi


@pytest.fixture(params=parts.PIS)
def pi(request, tmp_path):
    """Runs the real pi against a model: gives its messages' ends and its exit code."""
    package = parts.pi_package(request.param)
    own_node = Path(package).parents[1] / ".bin" / "node"
    cli = Path(package, "dist", "cli.js")
    command = [str(own_node) if own_node.exists() else "node", str(cli), "--mode", "json", "-p"]

    async def run(model, text, *more, api="openai-completions"):
        folder = model.pi_folder(tmp_path / "pi", apis=[api])
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [*command, *more, text],
                cwd=tmp_path,
                env=os.environ | model.env(folder) | {"HOME": str(tmp_path)},
                check=False,
            )
        events = [json.loads(line) for line in done.stdout.decode().splitlines()]
        return [event["message"] for event in events if event["type"] == "message_end"]

    return run


def said(message):
    return "".join(block.get("text", "") for block in message["content"])


@real_pi
@every_api
async def test_pi_plays_a_script_to_its_end(pi, api, tmp_path):
    (tmp_path / "notes.txt").write_text("a haiku\n")
    script = [
        [
            Think("two things at once"),
            Text("Let me see.", chunk=4),
            ToolCall("bash", command="echo from $((40 + 2))"),
            ToolCall("read", path="notes.txt"),
        ],
        lambda request: [
            Text(" and ".join(f"{r.name}: {r.text.strip()}" for r in request.results)),
            Usage(10_000, 5_000, 1_000),
        ],
    ]
    async with ScriptedModel(script) as model:
        messages = await pi(model, "what is there?", api=api)
    assert [request.api for request in model.requests] == [api, api]
    assert [request.turn for request in model.requests] == [0, 1]
    assert {"bash", "read"} <= set(model.requests[0].tool_names)
    assert model.requests[0].text == "what is there?"
    assert model.requests[0].system
    spoken = [message for message in messages if message["role"] == "assistant"]
    assert said(spoken[0]) == "Let me see."
    assert said(spoken[1]) == "bash: from 42 and read: a haiku"
    usage = spoken[1]["usage"]
    assert (usage["input"], usage["output"], usage["cacheRead"]) == (10_000, 5_000, 1_000)
    assert usage["cost"]["total"] == pytest.approx(0.01 + 0.01 + 0.0001)


@real_pi
@every_api
async def test_pi_tries_again_after_a_passing_failure(pi, api):
    script = [Fail(500), Drop(), [Text("half"), Drop()], "now it works"]
    async with ScriptedModel(script) as model:
        *_, last = await pi(model, "hi", api=api)
    assert said(last) == "now it works"
    assert [request.turn for request in model.requests] == [0, 1, 2, 3]


@real_pi
async def test_pi_tries_again_when_the_model_is_busy(pi):
    async with ScriptedModel([Fail(429), [Text("half"), Fail(529)], "now it works"]) as model:
        *_, last = await pi(model, "hi")
    assert said(last) == "now it works"
    assert len(model.requests) == 3


@real_pi
@every_api
async def test_pi_gives_up_after_a_lasting_failure(pi, api):
    async with ScriptedModel([Fail(401), "never"]) as model:
        *_, last = await pi(model, "hi", api=api)
    assert last["stopReason"] == "error"
    assert "the API key is invalid" in last["errorMessage"]
    assert len(model.requests) == 1


@real_pi
async def test_pi_gives_up_when_the_script_fails(pi):
    def boom(request):
        raise ZeroDivisionError("in the script")

    async def run():
        async with ScriptedModel(boom) as model:
            *_, last = await pi(model, "hi")
            assert "in the script" in last["errorMessage"]
            assert len(model.requests) == 1

    with pytest.raises(ZeroDivisionError):
        await run()


@real_pi
async def test_two_pis_with_the_same_words_have_a_conversation_each(pi):
    async with ScriptedModel([ToolCall("bash", command="true"), "second"]) as model:
        said_last = []

        async def run():
            *_, last = await pi(model, "the same words")
            said_last.append(said(last))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            tasks.start_soon(run)
    assert said_last == ["second", "second"]


@real_pi
async def test_pi_chooses_among_models_and_providers(pi, tmp_path):
    async with ScriptedModel({"writer": ["I write"], "reviewer": ["I review"]}) as model:
        *_, first = await pi(model, "hi")
        *_, second = await pi(model, "hi", "--model", "scripted/reviewer")
    assert (said(first), said(second)) == ("I write", "I review")
