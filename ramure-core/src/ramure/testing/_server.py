"""What servers on loopback that pi is led to have in common: scripted models and cassettes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream

from ramure.cancellation import outlast
from ramure.testing._anthropic import Messages
from ramure.testing._dialect import Dialect
from ramure.testing._http import BadRequest, HttpRequest, Reply, read_request
from ramure.testing._openai import ChatCompletions
from ramure.testing._player import Dropped, json_bytes
from ramure.testing._responses import Responses
from ramure.testing.request import Request
from ramure.testing.script import Fail

DIALECTS: dict[str, type[Dialect]] = {
    "/v1/chat/completions": ChatCompletions,
    "/v1/responses": Responses,
    "/v1/messages": Messages,
}
GONE = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.DelimiterNotFound,
)
"""The client has left."""


class LoopbackServer(ABC):
    """A server that has an address between ``_start`` and ``_stop``; a request a connection.

    Attributes:
        key: the API key that is asked for; random.
        requests: every request to a model, in the order of arrival.
        errors: what went wrong in serving them.
    """

    def __init__(self, name: str) -> None:
        self.key = f"{name}-{secrets.token_hex(12)}"
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        self._name = name
        self._scope: anyio.CancelScope | None = None  # made where a loop runs
        self._server: asyncio.Task[None] | None = None
        self._port = 0
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """The server's root, as Anthropic's clients want it."""
        if not self._port:
            name = type(self).__name__
            raise RuntimeError(f"a {name} has an address only inside its `async with` block")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The server's ``/v1``, as OpenAI's clients want it."""
        return f"{self.url}/v1"

    @abstractmethod
    def pi_folder(self, path: str | Path) -> Path:
        """Write a folder for pi's ``PI_CODING_AGENT_DIR`` that leads to this server; owner-only."""

    def env(self, folder: str | Path | None = None) -> dict[str, str]:
        """The environment that leads an agent here: pi's folder, offline, and the usual names.

        Args:
            folder: one that ``pi_folder`` wrote; without it a temporary one is written, which is
                removed at the end of the ``async with`` block.
        """
        if folder is None and self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"ramure-{self._name}-"))
            self.pi_folder(self._folder)
        return {
            "PI_CODING_AGENT_DIR": str(folder or self._folder),
            "PI_OFFLINE": "1",
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.key,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": self.key,
        }

    @contextmanager
    def use(self, folder: str | Path | None = None) -> Iterator[None]:
        """Put ``env(folder)`` into ``os.environ`` for a block."""
        env = self.env(folder)
        before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    async def _start(self) -> Self:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._port = listener.extra(SocketAttribute.local_port)  # noqa: S610 anyio's, not a database's
        self._scope = scope = anyio.CancelScope()
        # A task that this object owns until ``_stop`` has awaited it: a task group would have to be
        # left in the task that entered it, which fixtures and notebooks do not do.
        self._server = asyncio.create_task(
            self._listen(listener, scope), name=f"{self._name} server"
        )
        return self

    async def _stop(self) -> None:
        """End every answer under way."""
        server, self._server, self._port = self._server, None, 0
        scope, self._scope = self._scope, None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if server is not None and scope is not None:
            scope.cancel()
            await _end_of(server)

    @abstractmethod
    async def _answer(self, http: HttpRequest, reply: Reply) -> None:
        """Answer a request. May raise ``Dropped``, and whatever is in ``GONE``."""

    async def _request(
        self, http: HttpRequest, reply: Reply
    ) -> tuple[type[Dialect], Request] | None:
        """The request to a model, by whoever has the key; None where it has been refused."""
        if http.path not in DIALECTS or http.method != "POST":
            served = ", ".join(DIALECTS)
            why = f"{http.method} {http.path} is not served here; {served} are"
            await refuse(reply, 404, why)
            return None
        api = DIALECTS[http.path]
        try:
            request = api.read(json.loads(http.body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            await refuse(reply, 400, f"no request of {api.api}: {error!r}")
            return None
        request = replace(request, headers=http.headers, number=len(self.requests) + 1)
        if request.key != self.key:
            # Whoever else is on this computer does not ask a provider for the person's money.
            await reply.whole(401, json_bytes(api.failure(Fail(401))))
            return None
        return api, request

    # --- one connection, one request

    async def _listen(self, listener: Listener[SocketStream], scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await listener.serve(self._serve)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            reply = Reply(stream)
            with suppress(*GONE):
                try:
                    http = await read_request(stream)
                except BadRequest as error:
                    await refuse(reply, 400, str(error))
                    return
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_gone, stream, tasks.cancel_scope)
                    with suppress(*GONE, Dropped):
                        await self._answer(http, reply)
                    tasks.cancel_scope.cancel()


async def refuse(reply: Reply, status: int, message: str) -> None:
    """Answer that a request cannot be served."""
    await reply.whole(status, json_bytes({"error": {"message": message, "type": "scripted"}}))


async def _end_of(task: asyncio.Task[None]) -> None:
    """Wait for a task, whoever is cancelled meanwhile; what it raised is raised."""
    ended = anyio.Event()
    task.add_done_callback(lambda _: ended.set())
    await outlast(ended)
    if not task.cancelled():
        task.result()


async def _until_gone(stream: SocketStream, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` once the other side has left: nobody waits for the answer."""
    with suppress(*GONE, anyio.ClosedResourceError):
        while True:
            await stream.receive()
    scope.cancel()
