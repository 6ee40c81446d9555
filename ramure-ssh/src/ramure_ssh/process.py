"""A command on an SSH host: how it is started, watched and killed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
from anyio import BrokenResourceError, EndOfStream

from ramure._work import to_end
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.machine import Process
from ramure.values import PtySize
from ramure_ssh.channel import ChannelSession
from ramure_ssh.connection import Connection
from ramure_ssh.errors import UnfitAccount
from ramure_ssh.script import line

STARTING = 60.0
"""Seconds in which a login shell has to come to the command."""

PREAMBLE = 1 << 16
"""Bytes that a login shell may say of its own before the command."""


Killer = Callable[[int | None], Awaitable[bool]]
"""Has a tree killed, with the process of this number where it still runs; whether that is known."""


class SSHProcess(Process):
    """A command that has been started, over a session of its own."""

    def __init__(
        self,
        connection: Connection,
        machine: str,
        session: ChannelSession,
        killer: Killer,
        user: str | None = None,
    ) -> None:
        self.stdin, self.stdout, self.stderr = session.stdin, session.stdout, session.stderr
        self._connection = connection
        self._machine = machine
        self._session = session
        self._killer = killer
        self._user = user
        self._killed: anyio.Event | None = None
        self.pid: int | None = None

    async def begin(self, scripts: Sequence[str], word: str) -> None:
        """Have scripts run of which each reads the next; hear by ``word`` how that goes.

        Raises:
            OSError, MachineGone, UnfitAccount, LinkBroken: as ``Machine.open_process``.
        """
        with suppress(BrokenResourceError):  # what it says tells more
            self._session.write(b"".join(map(line, scripts)))
        await self.begun(word)

    async def begun(self, word: str) -> list[str]:
        """Hear how it goes; give what a good report says besides."""
        what, *rest = await self._report(word)
        if what == "ok":
            self.pid = int(rest[0])
            return rest[1:]
        if what == "gone":
            raise MachineGone("it is not there any more", machine=self._machine)
        number = getattr(errno, what)
        raise OSError(number, os.strerror(number), " ".join(rest))

    async def _report(self, word: str) -> list[str]:
        heard = b""
        pattern = re.compile(re.escape(word.encode()) + rb" ([^\r\n]*)\r?\n")
        try:
            with anyio.fail_after(STARTING):
                while not (match := pattern.search(heard)) and len(heard) < PREAMBLE:
                    heard += await self._session.stdout.receive()
        except EndOfStream:
            match = None
        except BrokenResourceError:
            raise self._broken() from None
        except TimeoutError:
            match = None
        if match is None:
            raise UnfitAccount(
                f"the login shell of {self._connection.where} runs no commands of ramure's: "
                f"{await self._words(heard)}; it takes an account whose shell can `exec sh`",
                machine=self._machine,
            )
        self._session.stdout.unread(heard[match.end() :])
        return match[1].decode("utf-8", "replace").split(" ")

    async def _words(self, heard: bytes) -> str:
        with anyio.move_on_after(1), suppress(BrokenResourceError):
            async for data in self._session.stderr:
                heard += data
        said = " ".join(heard.decode("utf-8", "replace").split())[-500:]
        return f"it says {said!r}" if said else "it says nothing"

    def _broken(self) -> MachineError:
        if self._machine in self._connection.warden.gone:
            return MachineGone("it has been removed", machine=self._machine)
        return LinkBroken(
            f"the connection to {self._connection.where} broke while a command ran",
            machine=self._machine,
            outcome_unknown=True,
        )

    @property
    def running(self) -> bool:
        """Whether it may still run."""
        return self._session.code is None

    async def wait(self) -> int:
        """See ``Process.wait``."""
        await self._session.ended.wait()
        if self._session.code is None:
            raise self._broken()
        return self._session.code

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        if self.running and self.pid is not None:
            self._connection.warden.signal(number, self._user, self.pid)

    async def kill(self) -> None:
        """See ``Process.kill``. Where the host is out of reach, as soon as it is back."""
        await to_end(self._kill)

    async def _kill(self) -> None:
        if self._killed is not None:  # it is said once: a host that is silent has not forgotten
            await self._killed.wait()
            return
        self._killed = anyio.Event()
        try:
            if await self._killer(self.pid if self.running else None):
                with anyio.move_on_after(1):
                    await self._session.ended.wait()
        finally:
            self._killed.set()

    def discard(self) -> None:
        """Let go of what has not begun."""
        self._session.close()

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``."""
        self._session.resize(size.columns, size.rows)

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            if self.running:
                await self.kill()
        finally:
            self._session.close()


class SocketProcess(Process):
    """A connection to a socket on a host, which looks like a process."""

    def __init__(self, session: ChannelSession) -> None:
        self.stdin, self.stdout, self.stderr = session.stdin, session.stdout, session.stderr
        session.stderr.end(EndOfStream)
        self._session = session

    async def wait(self) -> int:
        """Wait for the connection's end."""
        await self._session.ended.wait()
        return 0

    async def signal(self, number: int) -> None:
        """Nothing: there is nobody to hear it."""

    async def kill(self) -> None:
        """End the connection."""
        self._session.close()

    async def resize(self, size: PtySize) -> None:
        """Nothing: there is no terminal."""

    async def aclose(self) -> None:
        """End the connection."""
        self._session.close()
