"""Signs of life from a thread: a program whose loop is blocked is not a dead one.

One thread with a loop of its own minds all connections of a run. Only while the program's loop does
not answer it does it log in itself, with what is known by then, and speak for the loop.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

import anyio
import asyncssh
from anyio import BrokenResourceError, EndOfStream

from ramure._work import in_thread
from ramure.errors import MachineError
from ramure.relay import RelayedMachine
from ramure_ssh.channel import ChannelSession
from ramure_ssh.connection import Connection, open_session
from ramure_ssh.script import BOOT, call, line, words

ANSWERING = 10.0
"""Seconds in which a relay should answer a sign of life."""

BROKEN = (MachineError, OSError, asyncssh.Error, BrokenResourceError, EndOfStream, TimeoutError)
"""After these the thread begins anew: its signs are worth another attempt for as long as it can."""


class Pulse:
    """The thread, and whom it minds.

    It is a daemon: a program that ends without ``aclose`` does not wait for it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._minded: dict[Connection, Future[None]] = {}

    def mind(self, connection: Connection) -> None:
        """From now on, speak for a connection's machines where the running loop does not."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=_serve, args=(self._loop,), name="ramure-ssh", daemon=True)
            self._thread.start()
        if connection not in self._minded:
            voice = _Voice(connection, asyncio.get_running_loop())
            self._minded[connection] = asyncio.run_coroutine_threadsafe(voice.run(), self._loop)

    def drop(self, connection: Connection) -> None:
        """No longer."""
        if future := self._minded.pop(connection, None):
            future.cancel()

    async def aclose(self) -> None:
        """End the thread. Idempotent."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            await in_thread(self._thread.join, pool="pulse")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end what still goes on in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


class _Voice:
    """What speaks for one connection. Runs in the thread's loop."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._answered = time.monotonic()

    async def run(self) -> None:
        """Look often enough that a silent loop is noticed, and spoken for, within a beat."""
        while self._connection.usable and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer)
            await anyio.sleep(self._every / 4)
            if self._blocked:
                with suppress(*BROKEN):
                    await self._speak()

    def _answer(self) -> None:
        self._answered = time.monotonic()

    @property
    def _every(self) -> float:
        return self._connection.warden.every

    @property
    def _blocked(self) -> bool:
        return time.monotonic() - self._answered > self._every / 2

    async def _speak(self) -> None:
        """Say that the machines' program lives, until it says so itself."""
        ssh = await self._connection.login.connect(self._connection.answers.given())
        try:
            session = await self._command(ssh, call("serve"))
            while self._blocked:
                for machine in self._connection.warden.machines:
                    session.write(f"alive {machine}\n".encode())
                for relayed in list(self._connection.relayed.values()):
                    await self._speak_to_relay(ssh, relayed)
                await anyio.sleep(self._every / 2)
        finally:
            ssh.abort()

    async def _speak_to_relay(
        self, ssh: asyncssh.SSHClientConnection, machine: RelayedMachine
    ) -> None:
        """A relay's daemon has a lease of its own."""
        if machine.relay is None:
            return
        command, data = machine.relay.sign_of_life
        session = await self._command(ssh, f"exec {words(command)}")
        try:
            session.write(data)
            with anyio.move_on_after(ANSWERING), suppress(EndOfStream):
                await session.stdout.receive()
        finally:
            session.close()

    async def _command(self, ssh: asyncssh.SSHClientConnection, script: str) -> ChannelSession:
        session = ChannelSession(lambda: None)
        await open_session(ssh, session, BOOT)
        session.write(line(script))
        return session
