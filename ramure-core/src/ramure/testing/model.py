"""A model that plays a script: an HTTP server on loopback that speaks the APIs of the real ones.

``POST /v1/chat/completions``, ``/v1/responses`` and ``/v1/messages``, streaming and not, and
``GET /v1/models``. The real agent runs against it, offline and repeatably::

    async with ScriptedModel([ToolCall("finish", summary="42"), "Goodbye."]) as model:
        with model.use():  # agents started in here are led to it
            assert await run_task("What is the answer?") == "42"
        assert "finish" in model.requests[0].tool_names
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream

from ramure.cancellation import outlast
from ramure.testing import _pi_folder
from ramure.testing._anthropic import Messages
from ramure.testing._dialect import Dialect
from ramure.testing._http import BadRequest, HttpRequest, Reply, read_request
from ramure.testing._openai import ChatCompletions
from ramure.testing._player import Dropped, json_bytes, play
from ramure.testing._responses import Responses
from ramure.testing.playbook import Playbook
from ramure.testing.request import Request
from ramure.testing.script import Fail, Scripts

_DIALECTS: dict[str, type[Dialect]] = {
    "/v1/chat/completions": ChatCompletions,
    "/v1/responses": Responses,
    "/v1/messages": Messages,
}
APIS = tuple(dialect.api for dialect in _DIALECTS.values())
"""The APIs by pi's names for them."""


class ScriptedModel:
    """The server, for as long as its ``async with`` block.

    The block may be entered in one task and left in another, as fixtures of pytest are.
    Leaving the block ends every answer under way and raises what a script's function raised, if
    nothing else is being raised: a test fails with its script's own error.

    Args:
        scripts: one script for every conversation, or several by name (see ``Playbook``).
        models: ids of the models; by default the scripts' names, else ``scripted``.
        cycle: begin a list again after its end; otherwise the model says that it has ended.

    Attributes:
        key: the API key that is asked for; random.
        requests: every request, in the order of arrival.
        errors: what scripts raised.
    """

    def __init__(
        self, scripts: Scripts, *, models: Sequence[str] = (), cycle: bool = False
    ) -> None:
        self._playbook = Playbook(scripts, cycle=cycle)
        self.models = list(models) or self._playbook.names or ["scripted"]
        self.key = f"scripted-{secrets.token_hex(12)}"
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        self._news = anyio.Event()
        self._scope = anyio.CancelScope()
        self._server: asyncio.Task[None] | None = None
        self._port = 0
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """The server's root, as Anthropic's clients want it."""
        if not self._port:
            raise RuntimeError("a ScriptedModel has an address only inside its `async with` block")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The server's ``/v1``, as OpenAI's clients want it."""
        return f"{self.url}/v1"

    async def __aenter__(self) -> Self:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._port = listener.extra(SocketAttribute.local_port)  # noqa: S610 anyio's, not a database's
        self._scope = anyio.CancelScope()
        # A task that this object owns until ``__aexit__`` has awaited it: a task group would have
        # to be left in the task that entered it, which fixtures and notebooks do not do.
        self._server = asyncio.create_task(self._listen(listener), name="scripted model")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, self._server, self._port = self._server, None, 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if server is not None:
            self._scope.cancel()
            await _end_of(server)
        if not self.errors:
            return
        if error is None:
            raise self.errors[0]
        if error not in self.errors:
            error.add_note(f"The scripted model's script failed, too: {self.errors[0]!r}")

    async def wait_for(self, requests: int, *, timeout: float = 30.0) -> list[Request]:
        """Wait until so many requests have come, counted from the start; give all that have.

        Raises:
            TimeoutError: they have not come within ``timeout`` seconds.
            Exception: what a script raised meanwhile.
        """
        with anyio.move_on_after(timeout):
            while len(self.requests) < requests and not self.errors:
                await self._news.wait()
        if self.errors:
            raise self.errors[0]
        if len(self.requests) < requests:
            raise TimeoutError(
                f"{len(self.requests)} of {requests} requests came to the scripted model "
                f"within {timeout} s"
            )
        return list(self.requests)

    def pi_folder(
        self,
        path: str | Path,
        *,
        apis: Sequence[str] = (ChatCompletions.api,),
        settings: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a folder for pi's ``PI_CODING_AGENT_DIR`` that leads to this server; owner-only.

        Args:
            path: the folder; made where it is not there.
            apis: some of ``APIS``. The first one's provider is ``scripted`` and the default;
                another one's is ``scripted-{api}``: ``scripted-anthropic-messages/writer``.
            settings: further ones for ``settings.json``.
        """
        return _pi_folder.write(
            Path(path),
            url=self.url,
            key=self.key,
            models=self.models,
            apis=apis,
            settings=settings or {},
        )

    def env(self, folder: str | Path | None = None) -> dict[str, str]:
        """The environment that leads an agent here: pi's folder, offline, and the usual names.

        Args:
            folder: one that ``pi_folder`` wrote; without it a temporary one is written, which is
                removed at the end of the ``async with`` block.
        """
        if folder is None and self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ramure-scripted-"))
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

    # --- one connection, one request

    async def _listen(self, listener: Listener[SocketStream]) -> None:
        try:
            with self._scope:
                await listener.serve(self._serve)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            reply = Reply(stream)
            with suppress(*_GONE):
                try:
                    http = await read_request(stream)
                except BadRequest as error:
                    await _refuse(reply, 400, str(error))
                    return
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_gone, stream, tasks.cancel_scope)
                    with suppress(*_GONE, Dropped):
                        await self._answer(http, reply)
                    tasks.cancel_scope.cancel()

    async def _answer(self, http: HttpRequest, reply: Reply) -> None:
        if http.path == "/v1/models" and http.method == "GET":
            data = [{"id": id_, "object": "model", "owned_by": "script"} for id_ in self.models]
            await reply.whole(200, json_bytes({"object": "list", "data": data}))
        elif http.path not in _DIALECTS or http.method != "POST":
            served = ", ".join(_DIALECTS)
            await _refuse(reply, 404, f"{http.method} {http.path} is not served here; {served} are")
        else:
            await self._speak(http, _DIALECTS[http.path], reply)

    async def _speak(self, http: HttpRequest, api: type[Dialect], reply: Reply) -> None:
        try:
            request = api.read(json.loads(http.body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            await _refuse(reply, 400, f"no request of {api.api}: {error!r}")
            return
        request = replace(request, headers=http.headers, number=len(self.requests) + 1)
        if request.key != self.key:
            await reply.whole(401, json_bytes(api.failure(Fail(401))))
            return
        request = self._playbook.count(request)
        self.requests.append(request)
        self._tell()
        try:
            await play(api, request, await self._playbook.next(request), reply)
        except (*_GONE, Dropped):
            raise
        except Exception as error:  # noqa: BLE001 the script's own, whatever it is: raised at the end
            self.errors.append(error)
            self._tell()
            if not reply.started:
                # 400, because agents try again after a 500, and the script would only fail again.
                await reply.whole(
                    400, json_bytes(api.failure(Fail(400, f"the script raised {error!r}")))
                )

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


_GONE = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.DelimiterNotFound,
)


async def _end_of(task: asyncio.Task[None]) -> None:
    """Wait for a task, whoever is cancelled meanwhile; what it raised is raised."""
    ended = anyio.Event()
    task.add_done_callback(lambda _: ended.set())
    await outlast(ended)
    if not task.cancelled():
        task.result()


async def _until_gone(stream: SocketStream, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` once the other side has left: nobody waits for the answer."""
    with suppress(*_GONE, anyio.ClosedResourceError):
        while True:
            await stream.receive()
    scope.cancel()


async def _refuse(reply: Reply, status: int, message: str) -> None:
    await reply.whole(status, json_bytes({"error": {"message": message, "type": "scripted"}}))
