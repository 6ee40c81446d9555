"""A process on the other side of a relay."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping
from signal import SIGKILL

import anyio

from ramure._work import to_end
from ramure.machine import Command, Process
from ramure.relay.mux import Channel, Mux, Told
from ramure.values import PtySize

CONFIRMED = 4.0
"""Seconds in which the daemon should confirm a kill; it does it in any case."""


class RelayedProcess(Process):
    """A command that the daemon runs. It goes on while the link is broken."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._killed = asyncio.Event()
        self._failure: Told | None = None
        self._exit: int | None = None
        self._expired = False
        self._asked = False
        self.stdin = channel.outgoing(0)
        self.stdout = channel.incoming(1)
        self.stderr = channel.incoming(2)
        channel.told = self._told
        channel.changed = self._changed

    def _told(self, told: Told) -> None:
        if told.failed is not None:
            self._failure = told
            self._ended.set()
        if told.exit is not None:
            self._exit, self._expired = told.exit, told.expired
            self._ended.set()
        if told.killed:
            self._killed.set()
        else:
            self._started.set()

    def _changed(self) -> None:
        if not self._channel.link.connected:
            self._killed.set()  # the daemon will, once it hears of it
        if self._channel.error:
            self._started.set()
            self._ended.set()

    async def begun(self, command: Command) -> None:
        """Wait until it runs.

        Raises:
            OSError: as the machine's operating system says: FileNotFoundError, PermissionError, …
        """
        await self._started.wait()
        if (failure := self._failure) is not None:
            number = getattr(errno, failure.failed or "", errno.EIO)
            if failure.place:
                raise OSError(number, os.strerror(number), failure.place)
            program = command if isinstance(command, str) else command[0]
            raise OSError(number, f"{os.strerror(number)} ({failure.reason})", program)
        self._check()

    def _check(self) -> None:
        if error := self._channel.error:
            raise error

    async def wait(self) -> int:
        """See ``Process.wait``."""
        await self._ended.wait()
        if self._expired:
            await anyio.sleep_forever()  # the deadline of whoever gave it one is due as well
        if self._exit is None:
            self._check()
            return -SIGKILL  # somebody closed it while it ran
        return self._exit

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        if not self._ended.is_set():
            self._channel.message(signal=int(number))

    async def kill(self) -> None:
        """See ``Process.kill``. Where the link is broken, the daemon does it once it is mended."""
        self._killed = asyncio.Event()
        self._asked = True
        self._channel.message(kill=True)
        self._changed()
        with anyio.move_on_after(CONFIRMED):
            await self._killed.wait()

    async def resize(self, size: PtySize) -> None:
        """Do nothing: terminals are not relayed."""

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            if not self._ended.is_set() and not self._asked:
                await to_end(self.kill)
        finally:
            self._channel.close()
            self._ended.set()
            for stream in (self.stdin, self.stdout, self.stderr):
                await stream.aclose()


async def start(
    mux: Mux,
    command: Command,
    *,
    cwd: str,
    env: Mapping[str, str] | None,
    timeout: float | None = None,
    limit: int | None = None,
) -> RelayedProcess:
    """Start a command.

    Args:
        mux: the relay's channels.
        command: as ``Machine.open_process`` has it.
        cwd: absolute.
        env: added to the machine's environment.
        timeout: seconds after which the daemon kills it by itself.
        limit: bytes of each output stream beyond which the daemon throws away; its output ends
            with it then, even where children hold the pipes.
    """
    words = command if isinstance(command, str) else list(command)
    process = RelayedProcess(
        mux.open(
            kind="process", command=words, cwd=cwd, env=env or {}, timeout=timeout, limit=limit
        )
    )
    try:
        await process.begun(command)
    except BaseException:
        await to_end(process.aclose)
        raise
    return process
