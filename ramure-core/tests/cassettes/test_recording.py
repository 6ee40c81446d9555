"""What is recorded and when; where the provider and its key come from."""

import json
import os
import socket
import ssl
import stat
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.streams.tls import TLSListener

import certificates
from model_client import PATHS, post
from ramure.testing import Cassette, CassetteError, Drop, Fail, ScriptedModel, Text

MODE = "RAMURE_CASSETTES"


async def test_the_first_run_records_where_it_is_to(studio, say, monkeypatch, tmp_path):
    monkeypatch.setenv(MODE, "auto")
    async with ScriptedModel(["One."]) as real:
        options = {"model": "acme/large", "upstream": real.base_url, "key": real.key}
        async with Cassette(studio.path, **options) as model:
            assert model.recording
            assert (await say(model, "Hi")).text == "One."
        async with Cassette(studio.path, **options) as model:
            assert not model.recording
            assert (await say(model, "Hi")).text == "One."
        assert len(real.requests) == 1


async def test_without_a_recording_nothing_is_asked(studio, monkeypatch):
    monkeypatch.delenv(MODE, raising=False)
    with pytest.raises(CassetteError, match="record it with RAMURE_CASSETTES=record"):
        async with Cassette(studio.path):
            pass


def test_a_mode_that_is_none(studio, monkeypatch):
    with pytest.raises(CassetteError, match="replay, record, auto"):
        Cassette(studio.path, mode="rewind")
    monkeypatch.setenv(MODE, "rewind")
    with pytest.raises(CassetteError, match="RAMURE_CASSETTES"):
        Cassette(studio.path)
    with pytest.raises(CassetteError, match="headers"):
        Cassette(studio.path, mode="replay", match=["headers"])


async def test_what_failed_is_not_kept(studio, say):
    async with studio.record(["One."]) as model:
        await say(model, "Hi")
    before = studio.text

    async def fail():
        async with studio.record(["Other."]) as model:
            await say(model, "Ho")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert studio.text == before
    with pytest.raises(CassetteError, match="no request was answered"):
        async with studio.record(["Other."]):
            pass
    assert studio.text == before
    assert [path.name for path in studio.path.parent.iterdir()] == [studio.path.name]


async def test_failures_and_breaks_are_played_as_they_were(studio, say):
    script = [Fail(429, retry_after=3), Drop(), [Text("half"), Drop()], "whole"]
    async with studio.record(script) as model:
        refused = await say(model, "Hi")
        assert refused.status == 429
        for _ in range(2):
            with pytest.raises(Exception):  # noqa: B017 whatever the client says of a break
                await say(model, "Hi")
        assert (await say(model, "Hi")).text == "whole"
    endings = [it["answer"]["ending"] for it in studio.content["interactions"]]
    assert endings == ["complete", "dropped", "dropped", "complete"]
    async with studio.play() as model:
        again = await say(model, "Hi")
        assert (again.status, again.body) == (refused.status, refused.body)
        assert again.headers["retry-after"] == "3"
        for _ in range(2):
            with pytest.raises(Exception):  # noqa: B017
                await say(model, "Hi")
        assert (await say(model, "Hi")).text == "whole"


async def test_an_answer_that_is_no_stream(studio, say):
    async with studio.record(["One."]) as model:
        first = await say(model, "Hi", stream=False)
    async with studio.play() as model:
        assert (await say(model, "Hi", stream=False)).json == first.json


async def test_a_provider_that_is_not_there(studio, say):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = {"model": "acme/large", "upstream": f"http://127.0.0.1:{port}/v1", "key": "k" * 20}
    with pytest.raises(CassetteError, match="acme cannot be reached"):
        async with Cassette(studio.path, mode="record", **options) as model:
            assert (await say(model, "Hi")).status == 400
    assert not studio.path.exists()


@asynccontextmanager
async def behind_tls(model, folder):
    """The model's base URL by TLS, as real providers have it."""
    certificates.write(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    inner = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = inner.extra(anyio.abc.SocketAttribute.local_port)

    async def serve(one):
        other = await anyio.connect_tcp("127.0.0.1", int(model.url.rpartition(":")[2]))
        async with one, other, anyio.create_task_group() as tasks:
            tasks.start_soon(pour, one, other)
            await pour(other, one)
            tasks.cancel_scope.cancel()

    async def pour(source, target):
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async for data in source:
                await target.send(data)

    listener = TLSListener(inner, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"https://127.0.0.1:{port}/v1"
        tasks.cancel_scope.cancel()


async def test_a_provider_is_who_its_certificate_says(studio, say, tmp_path, monkeypatch):
    async with ScriptedModel(["One."]) as real, behind_tls(real, tmp_path) as url:

        async def record():
            options = {"model": "acme/large", "upstream": url, "key": real.key}
            async with Cassette(studio.path, mode="record", **options) as model:
                return (await say(model, "Hi")).text

        with pytest.raises(CassetteError, match="certificate verify failed"):
            await record()
        assert real.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await record() == "One."


async def test_nobody_else_spends_the_persons_money(studio, say):
    async with studio.record(["One."]) as model:
        body = {"model": "large", "messages": [{"role": "user", "content": "Hi"}]}
        stranger = await post(model, PATHS["openai-completions"], key="guessed", **body)
        assert stranger.status == 401
        assert studio.real.requests == []
        assert (await post(model, "/v1/embeddings")).status == 404
        await say(model, "Hi")


@pytest.mark.parametrize("stored", ["auth.json", "models.json", "environment", "command"])
async def test_the_provider_and_its_key_are_the_persons_own(
    studio, say, tmp_path, monkeypatch, stored
):
    async with ScriptedModel(["One."]) as real:
        folder = real.pi_folder(tmp_path / "pi")
        monkeypatch.setenv("PI_CODING_AGENT_DIR", str(folder))
        monkeypatch.setenv("MY_KEY", real.key)
        models = json.loads((folder / "models.json").read_text())
        if stored == "auth.json":
            key = {"type": "api_key", "key": real.key}
            (folder / "auth.json").write_text(json.dumps({"scripted": key}))
        if stored != "models.json":
            said = {"environment": "$MY_KEY", "command": f"!echo {real.key}"}
            models["providers"]["scripted"]["apiKey"] = said.get(stored, "unused")
            models["providers"]["scripted"]["headers"] = {"X-Team": "the-team-s-own-secret"}
            (folder / "models.json").write_text(json.dumps(models))
        files = {path: path.read_text() for path in folder.iterdir()}
        async with Cassette(studio.path, mode="record") as model:
            assert (await say(model, "Hi")).text == "One."
        [request] = real.requests
        assert request.key == real.key
        assert files == {path: path.read_text() for path in folder.iterdir()}
    assert (studio.content["provider"], studio.content["model"]) == ("scripted", "scripted")
    assert studio.content["definition"]["models"][0]["contextWindow"] == 200_000
    assert real.key not in studio.text
    assert "the-team-s-own-secret" not in studio.text


async def test_a_provider_that_pi_knows(studio, tmp_path, monkeypatch):
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-something-secret")
    monkeypatch.delenv("ANTHROPIC_OAUTH_TOKEN", raising=False)
    with pytest.raises(CassetteError, match="say which model of 'anthropic'"):
        async with Cassette(studio.path, mode="record", model=None):
            pass

    async def look():
        cassette = Cassette(studio.path, mode="record", model="anthropic/claude-sonnet-4-5:high")
        async with cassette as model:
            folder = model.pi_folder(tmp_path / "pi")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            providers = json.loads((folder / "models.json").read_text())["providers"]
            # pi's own list of models stays.
            assert providers == {"anthropic": {"baseUrl": model.url, "apiKey": model.key}}
            settings = json.loads((folder / "settings.json").read_text())
            assert settings["defaultModel"] == "claude-sonnet-4-5"
            assert model._upstream.url == "https://api.anthropic.com"
            assert model._upstream.key == os.environ["ANTHROPIC_API_KEY"]
            assert "sk-ant" not in repr(model._upstream)

    with pytest.raises(CassetteError, match="no request was answered"):
        await look()


async def test_without_any_key(studio, tmp_path, monkeypatch):
    from ramure.harnesses.pi.providers import VARIABLES

    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(tmp_path / "nothing"))
    with pytest.raises(CassetteError, match="there is no key"):
        async with Cassette(studio.path, mode="record"):
            pass
    with pytest.raises(CassetteError, match="no key for openai/gpt"):
        async with Cassette(studio.path, mode="record", model="openai/gpt"):
            pass
