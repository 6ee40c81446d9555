"""The control socket of a run, which the CLI speaks with: ``~/.ramure/runtimes/{id}.sock``.

What is said there is in ``ramure.run.rpc``; the methods are in ``ramure.operations``.
"""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio

from ramure import paths
from ramure._home import used_home
from ramure.run.rpc import CHUNK, Connection, Method

MAX_CONNECTIONS = 64
"""Connections at a time; the next is told so and closed."""

CLOSING = 5.0
"""Seconds in which the connections end when the run does."""


class Control:
    """The server of one run's control socket."""

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None
        self._files: tuple[Path, ...] = ()
        self._connections = 0

    async def open(self, path: Path, methods: Mapping[str, Method]) -> None:
        """Listen at ``path``, which becomes a link where it is too long for a socket.

        Raises:
            HomeUnusable: the socket cannot be made there.
        """
        with used_home():
            actual = paths.socket_path(path)
            self._files = (path, actual)
            bound = _bind(path, actual)
        # The one task that is made here is owned by this object until ``aclose`` has awaited it.
        self._task = asyncio.create_task(self._serve(bound, methods), name="ramure control")

    async def aclose(self) -> None:
        """Remove the socket and end all connections. Idempotent, bounded."""
        for file in self._files:
            file.unlink(missing_ok=True)
        if self._task is not None:
            self._scope.cancel()
            await asyncio.wait({self._task}, timeout=CLOSING)
            if self._task.done() and not self._task.cancelled():
                self._task.result()

    async def _serve(self, bound: socket.socket, methods: Mapping[str, Method]) -> None:
        # Through a queue: asyncio tells of a client outside any task, where anyio may not know its
        # event loop (sniffio, if installed, does not) and so can start nothing.
        clients: asyncio.Queue[tuple[StreamReader, StreamWriter]] = asyncio.Queue()
        with bound, self._scope:
            # Of asyncio, not of anyio: with 4.16 a client that leaves just as the run ends
            # makes a unix stream of anyio's write a traceback to the program's terminal.
            server = await asyncio.start_unix_server(
                lambda reader, writer: clients.put_nowait((reader, writer)), sock=bound, limit=CHUNK
            )
            try:
                async with anyio.create_task_group() as tasks:
                    while True:
                        tasks.start_soon(self._talk, Connection(*await clients.get(), methods))
            finally:
                server.close()
                while not clients.empty():
                    clients.get_nowait()[1].transport.abort()

    async def _talk(self, connection: Connection) -> None:
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                await connection.refuse(f"the run has {MAX_CONNECTIONS} connections already")
            else:
                await connection.serve()
        except Exception as error:  # noqa: BLE001 of one connection: the run answers others
            about = {"message": "a connection to the control socket failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(about)
        finally:
            self._connections -= 1


def _bind(path: Path, actual: Path) -> socket.socket:
    """A listening socket at ``actual``, owner-only from its first moment whatever the umask."""
    for stale in (path, actual):
        stale.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        with suppress(OSError):  # Linux makes the file with this mode at once; macOS cannot
            os.fchmod(made.fileno(), 0o600)
        made.bind(os.fspath(actual))
        actual.chmod(0o600)
        if actual != path:
            path.symlink_to(actual)
        made.listen(MAX_CONNECTIONS)  # only from now on can anybody connect
    except BaseException:
        made.close()
        raise
    return made
