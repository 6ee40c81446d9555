"""Where bridges reach a run: a unix socket, and a WebSocket port where the program asks for one.

A connection proves itself with its agent's token before anything else is answered; then it
belongs to that agent's channel.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from pathlib import Path

import anyio

from ramure.run.channel import Channel, Limits
from ramure.run.connection import LAST_WORD, Connection, LineConnection
from ramure.run.protocol import Hello, Refused

BACKLOG = 4096
"""Connections that wait to be accepted; the kernel takes no more than it was set up for."""


class Listener:
    """Accepts bridges and brings each to the channel whose token it has.

    Attributes:
        run: the execution id.
        limits: what is taken from connections that have not proved themselves.
    """

    def __init__(self, run: str, limits: Limits = Limits()) -> None:  # noqa: B008 frozen
        self.run = run
        self.limits = limits
        self._channels: dict[bytes, Channel] = {}
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self._connections: set[Connection] = set()
        self._unproven: dict[Connection, None] = {}
        self._emptied: anyio.Event | None = None

    # --- channels

    def register(self, channel: Channel) -> None:
        """Let the bridge with this channel's token in."""
        self._channels[_digest(channel.token)] = channel

    def unregister(self, channel: Channel) -> None:
        """Refuse this channel's token from now on. Idempotent."""
        self._channels.pop(_digest(channel.token), None)

    # --- doors

    async def open_unix(self, path: str | Path) -> None:
        """Listen at ``path``, for this user only. What a dead run left there is replaced.

        Raises:
            OSError: it cannot be bound.
        """
        path = Path(path)
        if path.is_socket():
            path.unlink()
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.setblocking(False)
            door.bind(str(path))
            self._paths.append(path)
            path.chmod(0o600)  # nobody can connect before it listens, whatever the umask
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(
                lambda: LineConnection(self), sock=door, backlog=BACKLOG
            )
        except BaseException:
            door.close()
            raise
        self._servers.append(server)

    async def open_websocket(self, host: str, port: int) -> tuple[str, int]:
        """Listen for WebSockets; give the address and port (0 asks for a free one).

        Raises:
            OSError: it cannot be bound.
        """
        from ramure.run.websocket import WebSocketConnection

        server = await asyncio.get_running_loop().create_server(
            lambda: WebSocketConnection(self), host, port, backlog=BACKLOG
        )
        self._servers.append(server)
        address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        return address

    async def aclose(self) -> None:
        """Close the doors and every connection. Idempotent; bounded."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.close(Refused(code="ended", reason=f"run {self.run} has ended"))
        if self._connections:
            self._emptied = anyio.Event()
            with anyio.move_on_after(LAST_WORD + 1, shield=True):
                await self._emptied.wait()

    # --- the gate of the connections

    def entered(self, connection: Connection) -> None:
        """Take note of a connection; where too many are unproven, the oldest makes room."""
        self._connections.add(connection)
        self._unproven[connection] = None
        if len(self._unproven) > self.limits.max_unproven:
            oldest = next(iter(self._unproven))
            del self._unproven[oldest]
            reason = "too many connections without a hello"
            oldest.close(Refused(code="limit", reason=reason, retry=True))

    def admit(self, connection: Connection, hello: Hello) -> Channel | Refused:
        """Bring a connection to the channel that it proves itself for."""
        channel = self._channels.get(_digest(hello.token))
        if channel is None or not _same(channel, hello):
            reason = f"run {self.run} knows no such agent with this token"
            return Refused(code="token", reason=reason)
        connection.belongs_to(channel)
        self._unproven.pop(connection, None)
        return channel.attach(connection, hello) or channel

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        self._unproven.pop(connection, None)
        self._connections.discard(connection)
        if self._emptied is not None and not self._connections:
            self._emptied.set()


def _digest(token: str) -> bytes:
    """What channels are found by: looking up a digest tells nothing of the token by its time."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _same(channel: Channel, hello: Hello) -> bool:
    token = hmac.compare_digest(channel.token.encode(), hello.token.encode())
    return token and channel.agent == hello.agent
