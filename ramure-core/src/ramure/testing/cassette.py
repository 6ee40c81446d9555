"""A recording of a real model: made once, with a person's key, and played offline for ever.

A server on loopback like the scripted model, that pi is led to::

    async with Cassette("tests/cassettes/haiku.json") as model:
        with model.use():
            assert "rebase" in await run_task("A haiku about git rebase.")

``RAMURE_CASSETTES=record`` passes every request on to the real provider and keeps what it answered;
otherwise the file answers, and no key and no network is needed. Secrets are removed from what is
kept, and nothing is written in which one is found all the same.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast, get_args

import anyio
from anyio.to_thread import run_sync

from ramure.errors import RamureError
from ramure.testing import _pi_folder, _tape, _upstream
from ramure.testing._http import HttpRequest, Reply
from ramure.testing._meaning import Meaning, Reader, replace_path
from ramure.testing._playback import (
    MODE,
    CassetteError,
    NoMatch,
    Part,
    Playback,
    UnusedInteractions,
    further_headers,
    play,
)
from ramure.testing._player import Dropped
from ramure.testing._secrets import Secrets
from ramure.testing._server import LoopbackServer, refuse
from ramure.testing._tape import Tape
from ramure.testing._upstream import Broken, Unreachable, Upstream
from ramure.testing.request import Request

Mode = Literal["replay", "record", "auto"]

BEYOND = 10.0
"""Seconds that an agent may take to leave when it asks for more than its program waited for."""

_KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms")


class Cassette(LoopbackServer):
    """The server, for as long as its ``async with`` block.

    Leaving the block without an error stores what was recorded, or warns of what was not asked for
    (``UnusedInteractions``); a request that fitted nothing is raised (``NoMatch``), or noted where
    something else is being raised.

    Args:
        path: the file.
        mode: ``replay`` answers from the file, ``record`` makes it anew, ``auto`` makes it where it
            is not there. By default what ``RAMURE_CASSETTES`` says, else ``replay``.
        model: ``provider/model`` that is recorded; by default the person's own default.
        upstream: the provider's base URL, as pi wants it; by default pi's own or the person's.
        api: how it is spoken to, where ``upstream`` is given (see ``ramure.testing.model.APIS``).
        key: the key for ``upstream``; by default from where pi keeps it.
        secrets: what else must not be in the file: texts, or patterns of them.
        ignore: patterns of what else changes from run to run, and makes no request another.
        match: what of a request decides: ``model``, ``system``, ``tools``, ``messages``.

    Attributes:
        requests: every request, in the order of arrival.
        errors: what went wrong in serving them.

    Raises:
        CassetteError: the arguments make no sense; entering: there is no such recording, or no key
            to make one; leaving: a secret would have been written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: Mode | None = None,
        model: str | None = None,
        upstream: str | None = None,
        api: str = "openai-completions",
        key: str | None = None,
        secrets: Iterable[str | re.Pattern[str]] = (),
        ignore: Iterable[str | re.Pattern[str]] = (),
        match: Collection[Part] = get_args(Part),
    ) -> None:
        super().__init__("cassette")
        self.path = Path(path)
        self.mode = _mode(mode)
        self._wanted = (model, upstream, api, key)
        self._secret = list(secrets)
        self._ignore = [re.compile(pattern) for pattern in ignore]
        self._match = frozenset(match)
        if unknown := self._match - set(get_args(Part)):
            raise CassetteError(f"match= names {sorted(unknown)}; there are {get_args(Part)}")
        self._upstream: Upstream | None = None
        self._secrets = Secrets([], env={})
        self._tape: Tape | None = None

    @property
    def recording(self) -> bool:
        """Whether the real provider is asked. Known once the block is entered."""
        return self._upstream is not None

    @property
    def unused(self) -> list[int]:
        """The numbers of the interactions that nobody has asked for yet."""
        return [] if self.recording else self._playback.unused

    @property
    def _loaded(self) -> Tape:
        if self._tape is None:
            raise RuntimeError("a Cassette is loaded only inside its `async with` block")
        return self._tape

    async def __aenter__(self) -> Self:
        await run_sync(self._load)
        return await self._start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()
        if error is not None:
            if self.errors and error not in self.errors:
                error.add_note(str(self.errors[0]))
        elif self.errors:
            raise self.errors[0]
        elif self.recording:
            await run_sync(self._store)
        elif missed := self._playback.missed:
            numbers = ", ".join(map(str, missed))
            warnings.warn(
                f"{self.path}: nobody asked for {len(missed)} of "
                f"{len(self._loaded.interactions)} interactions: {numbers}",
                UnusedInteractions,
                stacklevel=2,
            )

    def pi_folder(self, path: str | Path) -> Path:
        """Write a folder for pi's ``PI_CODING_AGENT_DIR`` that leads to this server; owner-only."""
        tape = self._loaded
        of_anthropic = tape.api == "anthropic-messages"
        url = self.url if of_anthropic else self.base_url
        provider = tape.definition | {"baseUrl": url, "apiKey": self.key}
        defaults = {"defaultProvider": tape.provider, "defaultModel": tape.model}
        return _pi_folder.write_files(Path(path), {tape.provider: provider}, defaults)

    # --- the file

    def _load(self) -> None:
        record = self.mode == "record" or (self.mode == "auto" and not self.path.exists())
        if record:
            self._upstream = upstream = self._find_upstream()
            self._tape = Tape(upstream.provider, upstream.api, upstream.model, upstream.definition)
        else:
            self._tape = self._read()
        self._playback = Playback(self._tape.interactions, self._match)
        own = (self._upstream.key, *self._upstream.headers.values()) if self._upstream else ()
        self._secrets = Secrets(
            (self.key, *own, *(text for text in self._secret if isinstance(text, str))),
            patterns=[it for it in self._secret if isinstance(it, re.Pattern)],
            env=os.environ,
        )
        home = str(Path.home())
        self._reader = Reader(self._secrets, ignore=self._ignore, home=home)

    def _find_upstream(self) -> Upstream:
        model, url, api, key = self._wanted
        try:
            if url is None:
                return _upstream.of_the_person(model)
            provider, slash, name = (model or "").partition("/")
            if not slash or not name:
                raise CassetteError("upstream= needs model='provider/model', too")
            if key is None:
                key = _upstream.of_the_person(model).key
        except (RamureError, Unreachable) as error:
            raise CassetteError(f"{self.path} cannot be recorded: {error}") from error
        definition = {"api": api, "models": [{"id": name}]}
        return Upstream(provider, api, url, key, name, definition)

    def _read(self) -> Tape:
        try:
            return _tape.read(self.path.read_text("utf-8"))
        except FileNotFoundError:
            raise CassetteError(
                f"there is no cassette {self.path}: record it with {MODE}=record, or mode='record'"
            ) from None
        except (ValueError, LookupError, TypeError) as error:
            raise CassetteError(f"{self.path} is no cassette: {error}") from error

    def _store(self) -> None:
        tape = self._loaded
        answered = [it for it in tape.interactions if it.answer.status or it.answer.body]
        for interaction in tape.interactions:
            if self._secrets.in_stream(interaction.answer.body.split("\n")):
                raise CassetteError(
                    f"{self.path} is not written: a secret is said, in pieces, in the answer to "
                    f"request {interaction.number}"
                )
        text = _tape.written(tape)
        if self._secrets.in_text(text):
            raise CassetteError(f"{self.path} is not written: a secret is left in it")
        if not answered:
            raise CassetteError(f"{self.path} is not written: no request was answered")
        _tape.store(self.path, text)

    # --- one request

    async def _answer(self, http: HttpRequest, reply: Reply) -> None:
        asked = await self._request(http, reply)
        if asked is None:
            return
        _, request = asked
        self.requests.append(request)
        meaning = self._reader.read(request)
        if self._upstream is not None:
            await self._record(self._upstream, http, request, meaning, reply)
            return
        try:
            answer = self._playback.take(meaning)
        except NoMatch as error:
            if self._playback.is_beyond(meaning):
                await anyio.sleep(BEYOND)  # an agent that is stopped leaves meanwhile
            error = NoMatch(f"{self.path} has no answer to request {request.number}: {error}")
            self.errors.append(error)
            # 400, because agents try again after a 500.
            await refuse(reply, 400, str(error).partition("\n")[0])
            return
        await play(answer, self._reader.places(request), reply)

    async def _record(
        self,
        upstream: Upstream,
        http: HttpRequest,
        request: Request,
        meaning: Meaning,
        reply: Reply,
    ) -> None:
        answer = self._loaded.begin(meaning).answer
        body = bytearray()
        try:
            async with upstream.post(http) as response:
                answer.status = response.status
                kept = {name: response.headers.get(name, "") for name in _KEPT_HEADERS}
                answer.headers = {name: text for name, text in kept.items() if text}
                async for piece in response.pieces:
                    body += piece
                    if answer.streamed:
                        await reply.event(piece)
            answer.ending = "complete"
        except Broken:
            answer.ending = "dropped"
            raise Dropped from None
        except Unreachable as error:
            self.errors.append(CassetteError(f"{self.path} cannot be recorded: {error}"))
            await refuse(reply, 400, str(error))
            return
        finally:
            answer.body = self._told(body.decode("utf-8", "replace"), request)
        if answer.streamed:
            await reply.end()
        else:
            await reply.whole(answer.status, bytes(body), further_headers(answer))

    def _told(self, body: str, request: Request) -> str:
        """An answer as it is kept: without secrets, and with names for the person's folders."""
        body = self._secrets.removed(body)
        for name, path in self._reader.places(request).items():
            body = replace_path(body, path, name)
        return body


def _mode(mode: str | None) -> Mode:
    wanted = mode or os.environ.get(MODE) or "replay"
    if wanted not in get_args(Mode):
        raise CassetteError(f"{MODE} or mode= is {wanted!r}; there are {', '.join(get_args(Mode))}")
    return cast("Mode", wanted)
