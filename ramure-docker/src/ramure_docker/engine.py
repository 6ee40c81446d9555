"""One engine: the SDK's client in worker threads, and streams of our own on the event loop."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import anyio
from anyio import DelimiterNotFound, IncompleteRead
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteStream

from ramure._work import in_thread
from ramure.errors import MachineError
from ramure_docker.address import Address
from ramure_docker.dial import BROKEN, Door, dial
from ramure_docker.errors import answered, translate, unreachable

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

POOL, THREADS = "docker", 16
"""Calls at a time, of all engines together."""

PATIENCE = 120
"""Seconds that the engine may be silent in the midst of a call."""

CONNECTING = 30.0
"""Seconds in which a stream has to be there."""


class Engine:
    """A Docker engine. Kept connections; made without asking anything.

    Attributes:
        full_volumes: the keys of tool sets whose volumes are known to be full.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: APIClient | None = None
        self._making = anyio.Lock()
        self._door: Door | None = None
        self.full_volumes: set[str] = set()

    async def call(
        self, work: Callable[[APIClient], T], machine: str = "", *, pool: str = POOL
    ) -> T:
        """Make a call of the SDK's in a worker thread.

        Raises:
            MachineError: what the engine answers, or that it does not.
        """
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        client = await self._connected(machine)
        try:
            return await in_thread(partial(work, client), pool=pool, size=THREADS)
        except (DockerException, RequestException, OSError) as error:
            raise translate(error, machine, engine=self.address.url) from error

    async def _connected(self, machine: str) -> APIClient:
        if self._client is not None:
            return self._client
        async with self._making:
            if self._client is None:
                self._client = await self._connect(machine)
            return self._client

    async def _connect(self, machine: str) -> APIClient:
        url = self.address.url

        def connect() -> APIClient:
            from ramure_docker.client import connect

            return connect(self.address, url, timeout=PATIENCE, connections=THREADS)

        from docker.errors import DockerException

        try:
            # What cannot be reached says so more clearly here than through the SDK.
            if self.address.scheme == "ssh":
                url = await self._open_door()
            else:
                with anyio.fail_after(CONNECTING):
                    await anyio.aclose_forcefully(await dial(self.address))
            return await in_thread(connect, pool=POOL, size=THREADS)
        except (DockerException, OSError) as error:
            raise unreachable(error, machine, engine=self.address.url) from error

    async def _open_door(self) -> str:
        """What the SDK connects to in place of ssh. A first connection of ours says why not."""
        stream = await self._ask(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n", "", b"200")
        await anyio.aclose_forcefully(stream)
        if self._door is None:
            self._door = Door(self.address)
            await self._door.open()
        return f"unix://{self._door.path}"

    # --- streams

    async def hijack(
        self, path: str, body: Mapping[str, Any] | None = None, *, machine: str, **query: Any
    ) -> BufferedByteStream:
        """Ask for a stream in both directions.

        Raises:
            MachineError: what the engine answers instead, or that it does not.
        """
        client = await self._connected(machine)
        content = json.dumps(body).encode() if body is not None else b""
        request = _request(client.api_version, path, query, content, upgrade=True)
        return await self._ask(request, machine, b"101")

    async def follow(self, path: str, *, machine: str = "", **query: Any) -> BufferedByteStream:
        """Ask for a stream of answers."""
        client = await self._connected(machine)
        return await self._ask(_request(client.api_version, path, query), machine, b"200")

    async def _ask(self, request: bytes, machine: str, wanted: bytes) -> BufferedByteStream:
        connection: ByteStream | None = None
        try:
            with anyio.fail_after(CONNECTING):
                connection = await dial(self.address)
                await connection.send(request)
                stream = BufferedByteStream(connection)
                head = await stream.receive_until(b"\r\n\r\n", 65536)
                status = head.split(b" ", 2)[1]
                if status == wanted:
                    return stream
                refusal = await _refusal(int(status), head, stream, machine)
        except (*BROKEN, TimeoutError, IncompleteRead, DelimiterNotFound) as error:
            await _drop(connection)
            raise unreachable(error, machine, engine=self.address.url) from error
        except BaseException:
            await _drop(connection)
            raise
        await _drop(connection)
        raise refusal

    async def aclose(self) -> None:
        """Let go of the kept connections."""
        if self._client is not None:
            self._client.close()
        if self._door is not None:
            await self._door.aclose()


async def _drop(connection: ByteStream | None) -> None:
    if connection is not None:
        await anyio.aclose_forcefully(connection)


async def _refusal(
    status: int, head: bytes, stream: BufferedByteStream, machine: str
) -> MachineError:
    """What the engine says instead of giving a stream."""
    size = re.search(rb"(?i)\r\ncontent-length: *(\d{1,9})\r\n", head)
    said = await stream.receive_exactly(min(int(size[1]), 65536)) if size else b""
    try:
        text = str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        text = said.decode("utf-8", "replace")
    return answered(status, text or f"status {status}", machine)


def _request(
    version: str,
    path: str,
    query: Mapping[str, Any],
    content: bytes = b"",
    *,
    upgrade: bool = False,
) -> bytes:
    # HTTP/1.0 for what is only read: the answer then comes as it is, in no chunks.
    target = f"/v{version}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
    lines = [f"POST {target} HTTP/1.1", "Connection: Upgrade", "Upgrade: tcp"]
    if not upgrade:
        lines = [f"GET {target} HTTP/1.0"]
    lines += ["Host: docker", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content
