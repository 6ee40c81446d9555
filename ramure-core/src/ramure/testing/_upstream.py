"""The real provider, when a cassette is recorded: where it is, a key for it, and a request to it.

As little of an HTTP client as that needs, on anyio's streams, for the reasons that ``_http.py``
has: what comes is passed on as it comes, and a connection that breaks is seen as such.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure.harnesses.pi.keys import Wallet
from ramure.testing._http import MAX_HEAD, BadRequest, HttpRequest, chunks

BUILT_IN: Mapping[str, tuple[str, str]] = {
    "anthropic": ("anthropic-messages", "https://api.anthropic.com"),
    "cerebras": ("openai-completions", "https://api.cerebras.ai/v1"),
    "deepseek": ("openai-completions", "https://api.deepseek.com"),
    "groq": ("openai-completions", "https://api.groq.com/openai/v1"),
    "openai": ("openai-responses", "https://api.openai.com/v1"),
    "openrouter": ("openai-completions", "https://openrouter.ai/api/v1"),
    "xai": ("openai-responses", "https://api.x.ai/v1"),
}
"""Those that pi knows and that can be recorded: API and address (pi 0.87: ``providers/data``)."""

PATIENCE = 600.0
"""Seconds of silence after which a provider is given up."""

_NOT_PASSED_ON = {"host", "content-length", "connection", "accept-encoding", "expect"} | {
    *("transfer-encoding", "keep-alive", "proxy-authorization", "authorization", "x-api-key"),
}


class Broken(Exception):
    """The provider's side broke the connection off."""


class Unreachable(Exception):
    """There is no way to the provider, or no key for it; the message says which."""


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an answer, and the pieces of its body, which raise ``Broken``."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider, and a key for it.

    Attributes:
        provider: pi's name for it.
        api: pi's name for how it is spoken to.
        url: its base URL, as pi wants it.
        key: secret.
        model: the id of the model that is the default.
        definition: of a provider that pi does not know by itself, without key and address.
        headers: further ones of every request; secret.
    """

    provider: str
    api: str
    url: str
    key: str = field(repr=False)
    model: str
    definition: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def post(self, http: HttpRequest) -> AsyncIterator[Response]:
        """Pass a request on, with the person's key.

        Raises:
            Broken: the provider took the request and gave no answer.
            Unreachable: there is no way to it.
        """
        path = http.path if self.api == "anthropic-messages" else http.path.removeprefix("/v1")
        parts = urlsplit(self.url.rstrip("/") + path)
        target = f"{parts.path}?{http.query}" if http.query else parts.path
        head = {name: text for name, text in http.headers.items() if name not in _NOT_PASSED_ON}
        secret = {"x-api-key": self.key} if "x-api-key" in http.headers else {}
        head |= secret or {"authorization": f"Bearer {self.key}"}
        head |= {name.lower(): text for name, text in self.headers.items()}
        head |= {"host": parts.netloc, "content-length": str(len(http.body)), "connection": "close"}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {text}" for name, text in head.items())]
        message = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + http.body
        async with await self._connected(parts.hostname or "", parts.port, parts.scheme) as stream:
            try:
                await stream.send(message)
                source = BufferedByteReceiveStream(stream)
                status, headers = await _read_head(source)
            except _BREAKS as error:
                raise Broken from error
            yield Response(status, headers, _pieces(source, headers))

    async def _connected(self, host: str, port: int | None, scheme: str) -> anyio.abc.ByteStream:
        try:
            if scheme == "http":
                return await anyio.connect_tcp(host, port or 80)
            context = ssl.create_default_context()
            return await anyio.connect_tcp(
                host, port or 443, tls=True, ssl_context=context, tls_standard_compatible=False
            )
        except OSError as error:
            raise Unreachable(f"{self.provider} cannot be reached at {host}: {error}") from error


_BREAKS = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.DelimiterNotFound,
    BadRequest,
    TimeoutError,
    ValueError,
)


async def _read_head(source: BufferedByteReceiveStream) -> tuple[int, dict[str, str]]:
    status = 100
    while status < 200:  # what comes first may only say that more is to come
        with anyio.fail_after(PATIENCE):
            head = (await source.receive_until(b"\r\n\r\n", MAX_HEAD)).decode("latin-1")
        first, *lines = head.split("\r\n")
        status = int(first.split(" ")[1]) if " " in first else 0
        if status == 0:
            raise BadRequest("the provider speaks no HTTP")
    named = (line.partition(":") for line in lines)
    return status, {name.strip().lower(): text.strip() for name, _, text in named}


async def _pieces(
    source: BufferedByteReceiveStream, headers: Mapping[str, str]
) -> AsyncIterator[bytes]:
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            async for chunk in chunks(source):
                yield chunk
        elif "content-length" in headers:
            yield await source.receive_exactly(int(headers["content-length"]))
        else:
            while True:
                yield await source.receive()
    except anyio.EndOfStream:
        if "content-length" in headers or "transfer-encoding" in headers:
            raise Broken from None
    except _BREAKS as error:
        raise Broken from error


def of_the_person(model: str | None) -> Upstream:
    """The provider that the person's own pi would use, with their key. Blocks.

    Args:
        model: ``provider/model``, or None for the default.

    Raises:
        Unreachable: no key is there, or the provider cannot be recorded.
        AgentStartFailed: pi's files cannot be read, or give no key.
    """
    wallet = Wallet(os.environ)
    provider = wallet.choose(model)
    if provider is None:
        raise Unreachable(f"there is no key for {model or 'any provider'} on this computer")
    wallet.put(provider, None)
    files = {name: json.loads(text) for name, text in wallet.access().files.items()}
    entry = files["models.json"]["providers"].get(provider) or {}
    settings = files["settings.json"]
    api, url = BUILT_IN.get(provider, ("", ""))
    api, url = entry.get("api", api), entry.get("baseUrl", url)
    key = files["auth.json"].get(provider, {}).get("key") or entry.get("apiKey")
    if not (api and url and key):
        raise Unreachable(f"{provider!r} cannot be recorded: give upstream=, api= and key=")
    default = settings.get("defaultModel") if settings.get("defaultProvider") == provider else None
    named = model.partition("/")[2].partition(":")[0] if model else default
    if named is None and entry.get("models"):
        named = entry["models"][0]["id"]
    if named is None:
        raise Unreachable(f"say which model of {provider!r} is recorded: model='{provider}/…'")
    headers = {name: _plain(text) for name, text in (entry.get("headers") or {}).items()}
    return Upstream(provider, api, url, _plain(key), named, _definition(entry), headers)


def _plain(text: str) -> str:
    """The text that pi takes this one for: the opposite of ``keys.literal``."""
    return re.sub(r"\$([$!])", r"\1", text)


def _definition(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be known of a provider and is nobody's secret."""
    secret = {"apiKey", "baseUrl", "headers", "oauth"}
    kept = {name: value for name, value in entry.items() if name not in secret}
    if "models" in kept:
        kept["models"] = [
            {name: value for name, value in model.items() if name not in secret}
            for model in kept["models"]
        ]
    return kept
