"""A client of the scripted model: plain HTTP, as the real APIs are spoken."""

import http.client
import json

import anyio
import pytest
from anyio import to_thread

HANGS = 60
"""Seconds after which a test that waits has failed."""

PATHS = {
    "openai-completions": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
every_api = pytest.mark.parametrize("api", list(PATHS))


class Answer:
    """What a client got."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        lines = [line for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    @property
    def text(self):
        """The text of a streamed answer of chat completions."""
        deltas = [c["delta"] for event in self.events for c in event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


def fetch(model, method, path, body, headers):
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(model.url.rpartition(":")[2]), timeout=HANGS
    )
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


async def post(model, path=PATHS["openai-completions"], /, *, key=None, headers=None, **body):
    headers = {"Authorization": f"Bearer {key or model.key}", **(headers or {})}
    with anyio.fail_after(HANGS):
        return await to_thread.run_sync(
            fetch, model, "POST", path, json.dumps(body), headers, abandon_on_cancel=True
        )


def asking(text, *, model="scripted", system="", stream=True):
    """A request of chat completions."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return {"model": model, "messages": messages, "stream": stream}


def asking_for(api, text, *, stream=True):
    if api == "openai-responses":
        return {"model": "scripted", "input": text, "stream": stream}
    return {
        "model": "scripted",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
    }


async def begin(model, body):
    """A connection on which a request has been sent."""
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {model.key}\r\n"
    stream = await anyio.connect_tcp("127.0.0.1", int(model.url.rpartition(":")[2]))
    await stream.send(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
    return stream


async def talk(model, sent):
    """All that comes back for these bytes."""
    port = int(model.url.rpartition(":")[2])
    with anyio.fail_after(HANGS):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(sent)
            return b"".join([piece async for piece in stream])
