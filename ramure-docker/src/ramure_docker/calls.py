"""Requests to an engine on the event loop: whoever asks can stop waiting, which no thread can.

Only what the engine's answers need: a first line, headers, and a body of known length or in chunks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import anyio
from anyio import DelimiterNotFound, IncompleteRead
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteStream

from ramure_docker.address import Address
from ramure_docker.dial import BROKEN, dial

AT_A_TIME, KEPT = 16, 8
"""Requests of one ``Calls``, and connections that are kept for later ones."""

LONGEST = 16_777_216
"""Bytes of an answer."""

UNANSWERED = (*BROKEN, TimeoutError, IncompleteRead, DelimiterNotFound)
"""What no answer at all is told by."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an engine.

    Attributes:
        lasting: "": an answer is all. "follow": the answer goes on, read only. "upgrade": both
            directions go on.
        headers: beyond those that are always sent. May hold secrets.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    lasting: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def encode(self, version: str) -> bytes:
        """As it is sent, to this version of the engine's interface; "" for none."""
        content = b"" if self.body is None else json.dumps(self.body).encode()
        target = (f"/v{version}" if version else "") + quote(self.path)
        target += f"?{urlencode(self.query)}" if self.query else ""
        # HTTP/1.0 for what is only read: the answer then comes as it is, in no chunks.
        protocol = "HTTP/1.0" if self.lasting == "follow" else "HTTP/1.1"
        lines = [f"{self.method} {target} {protocol}", "Host: docker"]
        if self.lasting == "upgrade":
            lines += ["Connection: Upgrade", "Upgrade: tcp"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer: its status, and its headers by their names in small letters."""

    status: int
    headers: Mapping[str, str]

    @classmethod
    async def receive(cls, stream: BufferedByteStream) -> Head:
        """The next answer's."""
        first, *lines = (
            (await stream.receive_until(b"\r\n\r\n", 65536)).decode("latin-1").split("\r\n")
        )
        pairs = (line.partition(":")[::2] for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        return cls(int(first.split(" ", 2)[1]), headers)

    @property
    def lasts(self) -> bool:
        """Another request may follow on the same connection."""
        known = "content-length" in self.headers or self.chunked or self.status in {204, 304}
        return known and self.headers.get("connection", "").lower() != "close"

    @property
    def chunked(self) -> bool:
        """The body comes in chunks."""
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    async def body(self, stream: BufferedByteStream) -> bytes:
        """What follows; nothing where its length is not told."""
        said = b""
        async with aclosing(self.pieces(stream)) as pieces:
            async for piece in pieces:
                said += piece
                if len(said) > LONGEST:
                    raise DelimiterNotFound(LONGEST)
        return said

    async def pieces(self, stream: BufferedByteStream) -> AsyncGenerator[bytes, None]:
        """As ``body``, while it comes."""
        if self.chunked:
            async with aclosing(_chunks(stream)) as chunks:
                async for chunk in chunks:
                    yield chunk
        elif length := int(self.headers.get("content-length", 0)):
            yield await stream.receive_exactly(min(length, LONGEST))

    async def lines(self, stream: BufferedByteStream) -> AsyncGenerator[bytes, None]:
        """As ``pieces``, line by line, without empty ones."""
        rest = b""
        async with aclosing(self.pieces(stream)) as pieces:
            async for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                for line in filter(bytes.strip, whole):
                    yield line
        if rest.strip():
            yield rest


async def _chunks(stream: BufferedByteStream) -> AsyncGenerator[bytes, None]:
    while size := int((await stream.receive_until(b"\r\n", 100)).partition(b";")[0], 16):
        if size > LONGEST:
            raise DelimiterNotFound(LONGEST)
        yield (await stream.receive_exactly(size + 2))[:-2]
    while await stream.receive_until(b"\r\n", 65536):
        pass  # trailers


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:g} s") from None


class Calls:
    """Kept connections to an engine."""

    def __init__(self, address: Address, *, kept: int = KEPT) -> None:
        self._address = address
        self._kept = kept
        self._places = anyio.Semaphore(AT_A_TIME)
        self._idle: list[BufferedByteStream] = []

    async def ask(
        self, request: bytes, patience: float, *, again: bool = True
    ) -> tuple[int, bytes]:
        """The status and the body of the answer.

        Args:
            request: what is asked.
            patience: seconds in which the answer has to be there.
            again: it may be asked twice; else it goes over a new connection.

        Raises:
            what ``UNANSWERED`` lists: there is none within ``patience`` seconds.
        """
        with _within(patience):
            async with self._places:
                # A kept connection may have ended meanwhile.
                while again and self._idle:
                    try:
                        return await self._ask(self._idle.pop(), request)
                    except (*BROKEN, IncompleteRead):
                        continue
                return await self._ask(BufferedByteStream(await dial(self._address)), request)

    async def _ask(self, stream: BufferedByteStream, request: bytes) -> tuple[int, bytes]:
        head = None
        try:
            await stream.send(request)
            head = await Head.receive(stream)
            body = await head.body(stream)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        if head.lasts and len(self._idle) < self._kept:
            self._idle.append(stream)
        else:
            await anyio.aclose_forcefully(stream)
        return head.status, body

    async def aclose(self) -> None:
        """Let go of the kept connections; none is kept from now on."""
        self._kept = 0
        idle, self._idle = self._idle, []
        for stream in idle:
            await anyio.aclose_forcefully(stream)


async def begin(
    address: Address, request: bytes, patience: float
) -> tuple[Head, bytes, BufferedByteStream]:
    """Ask on a connection of its own: what goes on is left on the stream, which is the caller's.

    Gives the answer's beginning, and its body where it is an error. Raises as ``Calls.ask``.
    """
    connection: ByteStream | None = None
    try:
        with _within(patience):
            connection = await dial(address)
            stream = BufferedByteStream(connection)
            await stream.send(request)
            head = await Head.receive(stream)
            return head, await head.body(stream) if head.status >= 400 else b"", stream
    except BaseException:
        if connection is not None:
            await anyio.aclose_forcefully(connection)
        raise
