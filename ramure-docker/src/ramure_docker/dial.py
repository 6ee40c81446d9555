"""Connections to an engine, whichever way: a unix socket, TCP, TLS, or the system's ssh."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from ramure._work import in_thread
from ramure_docker.address import Address
from ramure_docker.tls import TlsStream

BROKEN = (BrokenResourceError, ClosedResourceError, EndOfStream, OSError)

LIMIT = 131_072
"""Bytes of a connection that are kept for its reader; twice as many hold the other side back."""

POOL = "docker-ssh"
SSH = (
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
"""Nobody is there to be asked for a password, and a server that does not answer is gone after 15 s;
``~/.ssh/config`` says the rest."""

ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
"""The same for TCP, where the system has it."""


class SocketStream(ByteStream):
    """A socket. A ``send`` that is cancelled has sent all the same; ``send(b"")`` waits on.

    anyio's own stream of unix sockets logs an error where data comes in the moment that a reader is
    cancelled in; here readers are cancelled because a container's end has been told elsewhere.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteStream``."""
        try:
            data = await self._reader.read(max_bytes)
        except OSError as error:
            raise BrokenResourceError from error
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """See ``ByteStream``."""
        if self._writer.is_closing():
            raise ClosedResourceError
        try:
            self._writer.write(item)
            await self._writer.drain()
        except OSError as error:
            raise BrokenResourceError from error

    async def send_eof(self) -> None:
        """See ``ByteStream``."""
        if not self._writer.is_closing():
            self._writer.write_eof()

    async def aclose(self) -> None:
        """See ``ByteStream``."""
        self._writer.transport.abort()
        await checkpoint()


class SshStream(SocketStream):
    """The engine of another computer, through ``docker system dial-stdio`` there.

    ssh gets one end of a pair of sockets: as its input can end before its output, so can ours.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        process: subprocess.Popen[bytes],
    ) -> None:
        super().__init__(reader, writer)
        self._process = process

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``ByteStream``.

        Raises:
            ConnectionError: ssh ended before its time, and why.
        """
        try:
            return await super().receive(max_bytes)
        except (EndOfStream, BrokenResourceError):
            await self._check()
            raise

    async def send(self, item: bytes) -> None:
        """See ``ByteStream``; raises as ``receive``."""
        try:
            await super().send(item)
        except BrokenResourceError:
            await self._check()
            raise

    async def _check(self) -> None:
        if why := await in_thread(self._why, pool=POOL):
            raise ConnectionError(why) from None

    def _why(self) -> str:
        """Why it has failed; nothing where it has not."""
        with suppress(subprocess.TimeoutExpired):
            if self._process.wait(1) and self._process.stderr:
                said = self._process.stderr.read().decode("utf-8", "replace").strip()
                return said or "ssh ended without a word"
        return ""

    async def aclose(self) -> None:
        """End ssh: it is killed."""
        self._process.kill()
        self._process.wait()  # which takes no time
        if self._process.stderr:
            self._process.stderr.close()
        await super().aclose()


def _start_ssh(address: Address, end: socket.socket) -> subprocess.Popen[bytes]:
    with end:
        command, number = ssh_command(address), end.fileno()
        return subprocess.Popen(command, stdin=number, stdout=number, stderr=subprocess.PIPE)


async def _dial_by_ssh(address: Address) -> SshStream:
    ours, theirs = socket.socketpair()
    try:
        process = _start_ssh(address, theirs)
    except OSError:
        ours.close()
        raise
    return SshStream(*await asyncio.open_connection(sock=ours, limit=LIMIT), process)


async def dial(address: Address) -> ByteStream:
    """A connection to an engine.

    Raises:
        OSError: there is none to be had.
    """
    if address.scheme == "ssh":
        return await _dial_by_ssh(address)
    if address.scheme == "unix":
        return SocketStream(*await asyncio.open_unix_connection(address.place, limit=LIMIT))
    host, port = _host_and_port(address.place)
    if address.certs is None:
        return await _dial_by_tcp(host, port or 2375)
    context = await in_thread(partial(_context, address), pool=POOL)
    return await TlsStream.over(await _dial_by_tcp(host, port or 2376), context, host)


async def _dial_by_tcp(host: str, port: int) -> SocketStream:
    reader, writer = await asyncio.open_connection(host, port, limit=LIMIT)
    keep_alive(writer.get_extra_info("socket"))
    return SocketStream(reader, writer)


def keep_alive(connection: socket.socket) -> None:
    """Notice within seconds that the other side is out of reach."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _host_and_port(place: str) -> tuple[str, int | None]:
    """Of ``box:2376``, ``box``, or ``[::1]:2376``."""
    url = urlsplit(f"//{place}")
    return url.hostname or "", url.port


def ssh_command(address: Address) -> list[str]:
    """The command whose input and output are a connection to the engine."""
    user, _, place = address.place.rpartition("@")
    host, _, port = place.partition(":")
    options = [*(("-l", user) if user else ()), *(("-p", port) if port else ())]
    return [*SSH, *options, "--", host, "docker", "system", "dial-stdio"]


def _context(address: Address) -> ssl.SSLContext:
    folder = Path(address.certs or "")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Door:
    """Connections for the SDK, which knows no system's ssh: each leads to a dialled one.

    By pairs of sockets, which have no place in the file system where they could stay behind.
    """

    def __init__(self, address: Address) -> None:
        """Made in the loop that serves, until ``aclose``."""
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._closed = False

    def connect(self) -> socket.socket:
        """A connection to the engine, or what breaks off at once. Called in a thread."""
        ours, theirs = socket.socketpair()
        self._loop.call_soon_threadsafe(self._come, theirs)
        return ours

    def _come(self, end: socket.socket) -> None:
        if self._closed:
            end.close()
            return
        serving = self._serve(end)
        task = asyncio.create_task(serving, name=f"a connection to {self._address.url}")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, end: socket.socket) -> None:
        one = SocketStream(*await asyncio.open_connection(sock=end, limit=LIMIT))
        with suppress(*BROKEN):
            async with one, await dial(self._address) as other, anyio.create_task_group() as tasks:
                tasks.start_soon(_pour, one, other)
                await _pour(other, one)
                tasks.cancel_scope.cancel()

    async def aclose(self) -> None:
        """End every connection."""
        self._closed = True
        for task in (connections := list(self._connections)):
            task.cancel()
        if connections:
            await asyncio.wait(connections)


async def _pour(source: ByteStream, target: ByteStream) -> None:
    with suppress(*BROKEN):
        async for data in source:
            await target.send(data)
        await target.send_eof()
