"""A model that plays the real provider, with a key that is secret, and cassettes of it."""

import json
from contextlib import asynccontextmanager

import pytest

from model_client import PATHS, post
from ramure.testing import Cassette, ScriptedModel


class Studio:
    """Records and plays one cassette.

    Attributes:
        path: its file.
        key: the real provider's key, as the last recording had it.
    """

    def __init__(self, path):
        self.path = path
        self.key = ""
        self.real = None

    @asynccontextmanager
    async def record(self, script, api="openai-completions", **options):
        async with ScriptedModel(script) as real:
            self.real, self.key = real, real.key
            upstream = real.url if api == "anthropic-messages" else real.base_url
            options = {"model": "acme/large", "api": api, "key": real.key} | options
            async with Cassette(self.path, mode="record", upstream=upstream, **options) as model:
                yield model

    def play(self, **options):
        return Cassette(self.path, mode="replay", **options)

    @property
    def text(self):
        return self.path.read_text()

    @property
    def content(self):
        return json.loads(self.text)


@pytest.fixture
def studio(tmp_path):
    return Studio(tmp_path / "cassettes" / "it.json")


@pytest.fixture
def say():
    """Asks a model as pi would, of the chat completions; gives the answer."""

    async def say(model, *texts, system="", tools=(), results=(), stream=True):
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
        messages += [{"role": "tool", "tool_call_id": "x", "content": it} for it in results]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        body = {"model": "large", "messages": messages, "stream": stream, "tools": list(tools)}
        return await post(model, PATHS["openai-completions"], **body)

    return say
