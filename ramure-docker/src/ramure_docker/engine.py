"""One engine: what it answers at once and streams on the event loop; the SDK in worker threads.

A thread cannot be given up. So whatever a deadline or a cancellation must not wait for goes over
connections of our own; the SDK does the long work, and builds what is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.streams.buffered import BufferedByteStream

from ramure._work import in_thread
from ramure_docker.address import Address
from ramure_docker.calls import KEPT, UNANSWERED, Calls, Head, Request, begin
from ramure_docker.dial import Door
from ramure_docker.errors import EngineUnavailable, answered, translate, unreachable

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

POOL, THREADS = "docker", 16
"""Calls at a time, of all engines together."""

PATIENCE = 120
"""Seconds that the engine may be silent in the midst of a call."""

CONNECTING = ANSWERING = 30.0
"""Seconds in which a stream has to be there, and an answer on the event loop."""


class Engine:
    """A Docker engine. Kept connections; made without asking anything."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._pools: dict[str, Calls] = {}
        self._kept = KEPT
        self._speaks = ""
        self._client: APIClient | None = None
        self._making = anyio.Lock()
        self._door: Door | None = None

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
        # What cannot be reached says so more clearly here than through the SDK.
        version = await self._version(machine)
        if self.address.scheme == "ssh" and self._door is None:
            self._door = Door(self.address)
        dial = self._door.connect if self._door else None

        def connect() -> APIClient:
            from ramure_docker.client import connect

            return connect(self.address, dial, version, timeout=PATIENCE, connections=THREADS)

        from docker.errors import DockerException

        try:
            return await in_thread(connect, pool=POOL, size=THREADS)
        except (DockerException, OSError) as error:
            raise self._unreachable(error, machine) from error

    # --- on the event loop

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        machine: str = "",
        patience: float = ANSWERING,
        pool: str = POOL,
        again: bool = True,
        **query: Any,
    ) -> Any:
        """Ask something that the engine answers at once; what it says, read as JSON.

        Cancelled in the middle, nobody knows whether it was done.

        Args:
            method: as HTTP has it.
            path: what for.
            body: what is sent along, as JSON.
            machine: for errors.
            patience: seconds in which the answer has to be there.
            pool: what it may have to wait for: only so many at a time of one of these.
            again: it may be asked twice, where a connection breaks.
            query: what is asked for precisely.

        Raises:
            MachineError: what the engine answers, or that it does not.
        """
        calls = self._pool(pool)
        request = Request(method, path, query, body).encode(await self._version(machine))
        try:
            status, said = await calls.ask(request, patience, again=again)
        except UNANSWERED as error:
            raise self._unreachable(error, machine) from error
        if status >= 400:
            raise answered(status, _words(status, said), machine)
        return json.loads(said) if said else None

    def _pool(self, name: str) -> Calls:
        return self._pools.setdefault(name, Calls(self.address, kept=self._kept))

    async def _version(self, machine: str) -> str:
        """Of the interface that the engine speaks."""
        if not self._speaks:
            try:
                request = Request("GET", "/version").encode("")
                _, said = await self._pool(POOL).ask(request, CONNECTING)
                self._speaks = str(json.loads(said)["ApiVersion"])
            except (*UNANSWERED, ValueError, KeyError, TypeError) as error:
                raise self._unreachable(error, machine) from error
        return self._speaks

    def _unreachable(self, error: BaseException, machine: str) -> EngineUnavailable:
        return unreachable(error, machine, engine=self.address.url)

    # --- streams

    async def hijack(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        machine: str,
        patience: float = CONNECTING,
        **query: Any,
    ) -> BufferedByteStream:
        """Ask for a stream in both directions.

        Raises:
            MachineError: what the engine answers instead, or that it does not.
        """
        request = Request("POST", path, query, body, "upgrade")
        _, stream = await self._begin(request, machine, 101, patience)
        return stream

    async def follow(self, path: str, *, machine: str = "", **query: Any) -> BufferedByteStream:
        """Ask for a stream of answers."""
        request = Request("GET", path, query, lasting="follow")
        _, stream = await self._begin(request, machine, 200, CONNECTING)
        return stream

    async def work(
        self, path: str, hear: Callable[[Any], None], headers: Mapping[str, str], **query: Any
    ) -> None:
        """Ask for work of any length; the engine gives it up where this is cancelled.

        Args:
            path: what for.
            hear: is called with each thing that the engine says of it meanwhile.
            headers: of the request.
            query: what is asked for precisely.

        Raises:
            MachineError: what the engine answers instead, or that it breaks off.
        """
        request = Request("POST", path, query, headers=headers)
        head, stream = await self._begin(request, "", 200, math.inf)
        try:
            async with aclosing(head.lines(stream)) as lines:
                async for line in lines:
                    hear(json.loads(line))
        except UNANSWERED as error:
            raise self._unreachable(error, "") from error
        finally:
            await anyio.aclose_forcefully(stream)

    async def _begin(
        self, request: Request, machine: str, wanted: int, patience: float
    ) -> tuple[Head, BufferedByteStream]:
        data = request.encode(await self._version(machine))
        try:
            head, said, stream = await begin(self.address, data, patience)
        except UNANSWERED as error:
            raise self._unreachable(error, machine) from error
        if head.status == wanted:
            return head, stream
        await anyio.aclose_forcefully(stream)
        raise answered(head.status, _words(head.status, said), machine)

    async def aclose(self) -> None:
        """Let go of the kept connections; machines that are removed later get one each."""
        self._kept = 0
        if self._client is not None:
            self._client.close()
        for calls in self._pools.values():
            await calls.aclose()
        if self._door is not None:
            await self._door.aclose()


def _words(status: int, said: bytes) -> str:
    """What the engine says instead of what was asked for."""
    try:
        text = str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        text = said.decode("utf-8", "replace")
    return text or f"status {status}"
