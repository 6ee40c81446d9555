"""As much of HTTP/1.1 as a server needs that serves one request a connection.

Written here, on anyio's streams, because that is little (no keep-alive, no upgrade, no
compression), because the scripted model has to break the rules at times (half a chunk, then
silence), and because core should not gain a dependency for its tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024


class BadRequest(Exception):
    """What came is no request that is served here."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: header names are lower-case, the path is without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


async def read_request(stream: SocketStream) -> HttpRequest:
    """Read the one request.

    Raises:
        BadRequest: it cannot be understood, or is too large.
        anyio.EndOfStream, anyio.IncompleteRead: the peer left before its end.
    """
    source = BufferedByteReceiveStream(stream)
    head = (await source.receive_until(b"\r\n\r\n", MAX_HEAD)).decode("latin-1")
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise BadRequest(f"no request line: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(source, headers)
    path, _, query = words[1].partition("?")
    return HttpRequest(words[0], path, headers, body, query)


async def _read_body(source: BufferedByteReceiveStream, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(source)
    length = _number(headers.get("content-length", "0"), 10)
    return await source.receive_exactly(length) if length else b""


async def _read_chunks(source: BufferedByteReceiveStream) -> bytes:
    body = bytearray()
    async for chunk in chunks(source):
        body += chunk
        if len(body) > MAX_BODY:
            raise BadRequest(f"the body is larger than {MAX_BODY} bytes")
    return bytes(body)


async def chunks(source: BufferedByteReceiveStream) -> AsyncIterator[bytes]:
    """The pieces of a body that comes in chunks.

    Raises:
        BadRequest: they are not as they have to be.
        anyio.EndOfStream, anyio.IncompleteRead: the peer left before the end.
    """
    while True:
        line = await source.receive_until(b"\r\n", MAX_HEAD)
        size = _number(line.partition(b";")[0].decode("latin-1"), 16)
        if size == 0:
            while await source.receive_until(b"\r\n", MAX_HEAD):
                pass  # trailers
            return
        yield await source.receive_exactly(size)
        await source.receive_exactly(2)


def _number(text: str, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        raise BadRequest(f"no length: {text[:80]!r}") from None
    if not 0 <= value <= MAX_BODY:
        raise BadRequest(f"the body is larger than {MAX_BODY} bytes")
    return value


class Reply:
    """The answer: whole, or streamed as server-sent events.

    Attributes:
        started: something of it has been sent.
    """

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self.started = False

    async def whole(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send all of it at once; JSON."""
        head = {"content-type": "application/json", "content-length": str(len(body))}
        await self._start(status, head | dict(headers or {}))
        await self._stream.send(body)

    async def event(self, data: bytes) -> None:
        """Send a piece of a stream; the first is preceded by the head."""
        if not self.started:
            head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
            await self._start(200, head)
        if data:
            await self._stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """End a stream in order. Without it the peer sees that it was cut off."""
        await self.event(b"")
        await self._stream.send(b"0\r\n\r\n")

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Scripted"
        lines = [f"HTTP/1.1 {status} {phrase}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self._stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
