"""One connection to a run: JSON-RPC 2.0, one object a line, and frames after an ``Upgrade``.

Parameters go by name. Requests run concurrently and are answered as they end; a client that goes
away cancels what it asked for. A method that answers with an ``Upgrade`` turns the connection into
a stream of *frames*, one JSON object a line in both directions, until one side ends it. That is how
terminals travel::

    → {"jsonrpc": "2.0", "id": 1, "method": "terminal", "params": {"agent": "worker", …}}
    ← {"jsonrpc": "2.0", "id": 1, "result": {…}}
    → {"data": "bHMK"}              what was typed, base64
    ← {"taken": 1}                  so many frames of that have been taken (``intake.py``)
    ← {"data": "…"}                 what the terminal shows
    → {"resize": [120, 40]}         columns, rows
    ← {"exit": 0}                   the last frame; or {"error": "…"}
"""

from __future__ import annotations

import inspect
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream

from ramure.errors import RamureError
from ramure.tools.result import describe
from ramure.values import Json

Method = Callable[..., Awaitable[Any]]
"""Called with a request's parameters as keyword arguments; gives JSON, or an ``Upgrade``."""

MAX_LINE = 16_000_000
"""Bytes of one request or frame. A longer one is answered with an error and skipped."""

CHUNK = 65_536
"""Bytes that are read at once."""

MAX_REQUESTS = 32
"""Requests of one connection that run at a time; the next is read when one has ended."""

FAREWELL = 1.0
"""Seconds that requests may go on once their client has closed its side of the connection."""

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
RAMURE_ERROR, METHOD_RAISED, REFUSED = -32000, -32001, -32002


class Request(msgspec.Struct, kw_only=True):
    """One request; without ``id`` it is a notification and gets no answer."""

    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] = {}
    id: int | float | str | msgspec.UnsetType | None = msgspec.UNSET


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        code: as JSON-RPC numbers them.
        kind: the name of the Python error behind it, where there is one.
    """

    def __init__(self, code: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Frames:
    """A connection after its ``Upgrade``."""

    send: Callable[[dict[str, Json]], Awaitable[None]]
    _arrived: MemoryObjectReceiveStream[bytes]

    async def receive(self) -> dict[str, Any] | None:
        """The next frame; None once the client has gone. What is no JSON object is skipped."""
        async for line in self._arrived:
            try:
                return msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError):
                continue
        return None


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An answer after which the connection belongs to ``serve``; it ends when ``serve`` does."""

    result: Json
    serve: Callable[[Frames], Awaitable[None]]


class Connection:
    """The server's side of one connection."""

    def __init__(
        self, reader: StreamReader, writer: StreamWriter, methods: Mapping[str, Method]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._methods = methods
        self._places = anyio.Semaphore(MAX_REQUESTS)
        self._scope = anyio.CancelScope()
        self._upgraded = False

    async def serve(self) -> None:
        """Answer until the client goes away, or an ``Upgrade`` has served its time."""
        arriving, arrived = anyio.create_memory_object_stream[bytes](16)
        try:
            with arriving, arrived, self._scope:
                async with anyio.create_task_group() as tasks:
                    async for line in _lines(self._reader):
                        if self._upgraded:
                            await arriving.send(line or b"")
                            continue
                        await self._places.acquire()
                        tasks.start_soon(self._handle, line, Frames(self._send, arrived))
                    arriving.close()
                    self._scope.deadline = anyio.current_time() + FAREWELL
        finally:
            await self._close()

    async def refuse(self, reason: str) -> None:
        """Say why nothing is answered here, and close."""
        try:
            await self._send(_failure(None, RequestError(REFUSED, reason)))
        finally:
            await self._close()

    async def _close(self) -> None:
        """Close once what was written has left, or after a moment."""
        try:
            self._writer.close()
            with anyio.move_on_after(FAREWELL), suppress(OSError):
                await self._writer.wait_closed()
        finally:
            # A transport that has sent its last bytes after its close has forgotten its loop, and
            # CPython 3.11 does not see that there is nothing to abort.
            with suppress(AttributeError):
                self._writer.transport.abort()

    async def _handle(self, line: bytes | None, frames: Frames) -> None:
        try:
            request_id: Any = None
            try:
                request = _read(line)
                request_id = request.id
                result = await self._call(request)
            except RequestError as error:
                await self._answer(request_id, _failure(request_id, error))
                return
            if not isinstance(result, Upgrade):
                await self._answer(request_id, _success(request_id, result))
                return
            self._upgraded = True
            await self._answer(request_id, _success(request_id, result.result))
            try:
                await result.serve(frames)
            except Exception as error:  # noqa: BLE001 one terminal's trouble is not the server's
                await self._send({"error": describe(error)})
            self._scope.cancel()
        finally:
            self._places.release()

    async def _call(self, request: Request) -> Any:
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise RequestError(UNKNOWN_METHOD, f"no method {request.method!r}; there are: {known}")
        try:
            inspect.signature(method).bind(**request.params)
        except TypeError as error:
            raise RequestError(INVALID_PARAMS, f"{request.method}: {error}") from None
        try:
            return await method(**request.params)
        except RamureError as error:
            raise RequestError(RAMURE_ERROR, str(error), type(error).__name__) from error
        except Exception as error:  # an endpoint may raise anything; it is the caller's to read
            raise RequestError(METHOD_RAISED, describe(error), type(error).__name__) from error

    async def _answer(self, request_id: Any, answer: dict[str, Any]) -> None:
        if request_id is not msgspec.UNSET:
            await self._send(answer)

    async def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(msgspec.json.encode(message) + b"\n")
        try:
            await self._writer.drain()
        except OSError:
            self._scope.cancel()


def _success(request_id: Any, result: Any) -> dict[str, Any]:
    try:
        encoded = msgspec.Raw(msgspec.json.encode(result))
    except Exception as error:  # noqa: BLE001 the objects of any program may be in a result
        text = f"the result cannot be written as JSON: {error!a}"
        return _failure(request_id, RequestError(METHOD_RAISED, text, type(error).__name__))
    return {"jsonrpc": "2.0", "id": request_id, "result": encoded}


def _failure(request_id: Any, error: RequestError) -> dict[str, Any]:
    # A lone surrogate (from os.listdir, say) could not be sent.
    message = str(error).encode("utf-8", "backslashreplace").decode()
    told: dict[str, Any] = {"code": error.code, "message": message}
    if error.kind:
        told["data"] = {"type": error.kind}
    return {"jsonrpc": "2.0", "id": request_id, "error": told}


def _read(line: bytes | None) -> Request:
    if line is None:
        raise RequestError(INVALID_REQUEST, f"a line of more than {MAX_LINE} bytes")
    try:
        return msgspec.json.decode(line, type=Request)
    except msgspec.ValidationError as error:
        raise RequestError(INVALID_REQUEST, str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(PARSE_ERROR, str(error)) from None


async def _lines(reader: StreamReader) -> AsyncIterator[bytes | None]:
    """The lines of a stream, empty ones left out; None for one that is too long."""
    rest, skipping = bytearray(), False
    while chunk := await _chunk(reader):
        *ended, last = chunk.split(b"\n")
        for line in ended:
            rest += line
            if skipping:
                skipping = False
            elif len(rest) > MAX_LINE:
                yield None
            elif rest.strip():
                yield bytes(rest)
            rest.clear()
        if not skipping:
            rest += last
        if len(rest) > MAX_LINE:
            rest.clear()
            skipping = True
            yield None


async def _chunk(reader: StreamReader) -> bytes:
    try:
        return await reader.read(CHUNK)
    except OSError:  # reset by the client: it has gone
        return b""
