"""A model that plays a script: an HTTP server on loopback that speaks the APIs of the real ones.

``POST /v1/chat/completions``, ``/v1/responses`` and ``/v1/messages``, streaming and not, and
``GET /v1/models``. The real agent runs against it, offline and repeatably::

    async with ScriptedModel([ToolCall("finish", summary="42"), "Goodbye."]) as model:
        with model.use():  # agents started in here are led to it
            assert await run_task("What is the answer?") == "42"
        assert "finish" in model.requests[0].tool_names
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from ramure.testing import _pi_folder
from ramure.testing._dialect import Dialect
from ramure.testing._http import HttpRequest, Reply
from ramure.testing._openai import ChatCompletions
from ramure.testing._player import Dropped, json_bytes, play
from ramure.testing._server import DIALECTS, GONE, LoopbackServer
from ramure.testing.playbook import Playbook
from ramure.testing.request import Request
from ramure.testing.script import Fail, Scripts

APIS = tuple(dialect.api for dialect in DIALECTS.values())
"""The APIs by pi's names for them."""


class ScriptedModel(LoopbackServer):
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
        super().__init__("scripted")
        self._playbook = Playbook(scripts, cycle=cycle)
        self.models = list(models) or self._playbook.names or ["scripted"]
        self._news = anyio.Event()

    async def __aenter__(self) -> Self:
        return await self._start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()
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

    async def _answer(self, http: HttpRequest, reply: Reply) -> None:
        if http.path == "/v1/models" and http.method == "GET":
            data = [{"id": id_, "object": "model", "owned_by": "script"} for id_ in self.models]
            await reply.whole(200, json_bytes({"object": "list", "data": data}))
        elif (asked := await self._request(http, reply)) is not None:
            await self._play(*asked, reply)

    async def _play(self, api: type[Dialect], request: Request, reply: Reply) -> None:
        request = self._playbook.count(request)
        self.requests.append(request)
        self._tell()
        try:
            await play(api, request, await self._playbook.next(request), reply)
        except (*GONE, Dropped):
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
