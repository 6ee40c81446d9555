"""One kept connection to an account, shared by all machines there, and mended when it breaks."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import cast

import anyio
import asyncssh
from anyio.abc import TaskGroup

from ramure._work import to_end
from ramure.cancellation import Job
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.relay import RelayedMachine
from ramure.values import PtySize
from ramure_ssh.answers import Answers
from ramure_ssh.channel import ChannelSession
from ramure_ssh.errors import HostUnreachable, SSHError
from ramure_ssh.image import KEEPALIVE
from ramure_ssh.login import CONNECTING, Login
from ramure_ssh.sessions import Sessions
from ramure_ssh.warden import Warden

ATTEMPT = CONNECTING
"""Seconds in which one attempt to come back has to succeed: as long as the first had."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0
"""Seconds between two attempts to come back."""

OPENING = 30.0
"""Seconds in which a host has to open a session."""

REFUSED_AGAIN = 50
"""How often a host may refuse its only session before this is no matter of how many there are."""

WINDOW = 2 << 20
"""Bytes that a host may send before they are taken."""

SILENT = 3
"""Questions without an answer after which a connection is given up."""

LOST = (asyncssh.DisconnectError, ConnectionError, BrokenPipeError)


class Connection:
    """A connection that is up as much as can be.

    It has no scope of its own: it lives from ``open`` to ``aclose``, whatever tasks call these. So
    its tasks hang on one that it owns itself.

    Attributes:
        relayed: its machines that may have a relay, by name.
    """

    def __init__(
        self, login: Login, *, patience: float, max_sessions: int, keepalive: float = KEEPALIVE
    ) -> None:
        """Make one.

        Args:
            login: to which account, and how.
            patience: seconds out of reach after which it is given up for good, where no machine
                has a longer lease.
            max_sessions: sessions at a time; more have to wait.
            keepalive: seconds of silence after which the host is asked for a sign of life.
        """
        self.login = login
        self.answers = Answers(login.password, login.passphrase)
        self._keepalive = keepalive
        self.where = f"ssh://{login.address}"
        self._patience = patience
        self._leases: dict[str, float] = {}
        self.relayed: dict[str, RelayedMachine] = {}
        self._sessions = Sessions(self.where, max_sessions)
        self._task: asyncio.Task[None] | None = None
        self._tasks: TaskGroup
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._failure: Callable[[], MachineError] | None = None
        self._changed = anyio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._served = False
        self._lost = 0.0
        self.warden = Warden()

    @property
    def usable(self) -> bool:
        """False once it is over for good."""
        return self._failure is None

    @property
    def up(self) -> bool:
        """Whether it is up now, as far as is known."""
        return self._ssh is not None

    @property
    def patience(self) -> float:
        """Seconds out of reach after which it is given up for good: the longest lease."""
        return max(self._leases.values(), default=self._patience)

    @property
    def has_session(self) -> bool:
        """Whether a command would have one at once."""
        return self._sessions.free

    def suit(self, *, max_sessions: int, keepalive: float) -> None:
        """Do as one more that uses it would have it, too."""
        self._sessions.limit(max_sessions)
        self._keepalive = min(self._keepalive, keepalive)
        if self._ssh is not None:
            self._ssh.set_keepalive(self._keepalive, SILENT)

    def own(self, machine: str, lease: float, every: float) -> None:
        """Keep a machine alive, by a sign every so many seconds, for as long as its lease."""
        self._leases[machine] = lease
        self.warden.own(machine, every)

    def disown(self, machine: str) -> None:
        """Keep it no more. Idempotent."""
        self._leases.pop(machine, None)
        self.relayed.pop(machine, None)
        self.warden.disown(machine)

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            SSHError: there is no way; why, and what to do.
        """
        self._task = asyncio.create_task(self._run(), name=f"connection to {self.where}")
        try:
            await self.reach()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Let go. What runs there goes on until its lease is over. Idempotent; bounded."""
        self._fail(partial(MachineGone, f"the connection to {self.where} has been closed"))
        if self._task is not None:
            self._task.cancel()
            await to_end(partial(asyncio.wait, [self._task]))

    # --- staying connected

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                await self._stay_connected()
        finally:
            self._fail(partial(MachineGone, f"the connection to {self.where} has been closed"))

    async def _stay_connected(self) -> None:
        try:
            await self._use(await self.login.connect(self.answers))
            while True:
                await self._return()
        except (SSHError, LinkBroken) as error:
            self._fail(partial(_again, error))
            self._tasks.cancel_scope.cancel()

    async def _return(self) -> None:
        """Come back after a growing while, and stay; until patience ends.

        A host that lets us in has not answered before its warden has: patience goes on until then.
        """
        delay, self._lost = FIRST_DELAY, anyio.current_time()
        while True:
            await anyio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 spreads the load
            delay = min(2 * delay, LONGEST_DELAY)
            with suppress(HostUnreachable):
                ssh = None
                with anyio.move_on_after(ATTEMPT):
                    ssh = await self.login.connect(self.answers)
                if ssh is not None and await self._use(ssh):
                    return
            if anyio.current_time() >= self._lost + self.patience:
                raise self._out_of_reach(self.patience)

    def _out_of_reach(self, seconds: float) -> LinkBroken:
        return LinkBroken(
            f"{self.where} has been out of reach for {seconds:g} s: what ran there has been ended, "
            "or soon will be"
        )

    async def _use(self, ssh: asyncssh.SSHClientConnection) -> bool:
        """Use a connection until it breaks; True where its warden has been heard."""
        self.warden.heard = False
        ssh.set_keepalive(self._keepalive, SILENT)
        try:
            session = await self._open_warden(ssh)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.warden.serve, session)
                self._ssh = ssh
                self._notify()
                tasks.start_soon(self._until_closed, ssh)
                await session.closed.wait()
                self._served = self._served or self.warden.heard
                if not self._served:
                    # An account that runs no commands: whoever asks for one is told.
                    await ssh.wait_closed()
                tasks.cancel_scope.cancel()
        except* LOST:
            pass
        finally:
            self._ssh = None
            ssh.abort()
        return self.warden.heard

    async def _open_warden(self, ssh: asyncssh.SSHClientConnection) -> ChannelSession:
        session = ChannelSession(await self._sessions.take())
        try:
            await open_session(ssh, session, Warden.COMMAND)
        except (TimeoutError, asyncssh.ChannelOpenError) as error:
            session.forget()
            why = str(error) or "it does not answer"
            raise HostUnreachable(f"{self.where} opens no session: {why}") from error
        except BaseException:
            session.forget()
            raise
        return session

    async def _until_closed(self, ssh: asyncssh.SSHClientConnection) -> None:
        with suppress(*LOST, asyncssh.Error):
            await ssh.wait_closed()

    def _fail(self, failure: Callable[[], MachineError]) -> None:
        if self._failure is None:
            self._failure = failure
            self.warden.give_up()
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        if self._ssh is not None:
            for listener in self._listeners:
                listener()

    # --- using it

    async def reach(self, patience: float = math.inf) -> asyncssh.SSHClientConnection:
        """The connection; waits where it is not up, until it was out of reach for ``patience``.

        Raises:
            LinkBroken, SSHError: it is over for good, or for too long.
        """
        while self._ssh is None:
            if self._failure is not None:
                raise self._failure()
            left = self._lost + patience - anyio.current_time() if self._served else math.inf
            with anyio.move_on_after(max(left, 0)) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                raise self._out_of_reach(patience)
        return self._ssh

    async def start(
        self,
        command: str,
        pty: PtySize | None = None,
        *,
        patience: float = math.inf,
        lasting: bool = False,
    ) -> ChannelSession:
        """Open a session and give it a command; waits while too many are open.

        A command that waits for its input has not begun when this fails.

        Args:
            command: for the login shell.
            pty: a terminal of this size.
            patience: seconds that the host may be out of reach.
            lasting: it need not end by itself.

        Raises:
            LinkBroken, SSHError: there is no way.
            TooManySessions: what lasts holds all that there may be.
        """
        refused = 0
        while True:
            ssh = await self.reach(patience)
            session = ChannelSession(await self._sessions.take(lasting=lasting))
            try:
                await self._opened(session, partial(open_session, ssh, session, command, pty))
            except asyncssh.ChannelOpenError as error:
                session.forget()
                if ssh is self._ssh:
                    refused = self._refused(refused, error)
                    await anyio.sleep(0.1)
            except LOST:
                session.forget()
                await anyio.sleep(0.01)
            except TimeoutError:
                session.forget()
                raise LinkBroken(f"{self.where} opens no session: it does not answer") from None
            else:
                return session

    async def dial(self, path: str) -> ChannelSession:
        """Connect to a unix socket on the host; counts as no session there.

        Raises:
            OSError: nobody listens, or the host does not let us.
            LinkBroken, SSHError: there is no way.
        """
        ssh = await self.reach()
        session = ChannelSession(lambda: None)

        async def create() -> None:
            with anyio.fail_after(OPENING):
                await ssh.create_unix_connection(
                    lambda: cast("asyncssh.SSHUNIXSession[bytes]", session), path, window=WINDOW
                )

        try:
            await self._opened(session, create)
        except (asyncssh.Error, TimeoutError) as error:
            session.forget()
            raise OSError(f"{self.where}: {path}: {error}") from error
        return session

    @asynccontextmanager
    async def sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """A session in which files are asked for; paths and names are as the system has them.

        Raises:
            LinkBroken, SSHError: there is no way.
            asyncssh.Error: the host opens none.
        """
        ssh = await self.reach()
        hand_back = await self._sessions.take()
        clients: list[asyncssh.SFTPClient] = []

        async def start() -> None:
            clients.append(await ssh.start_sftp_client(path_errors="surrogateescape"))

        try:
            if not await to_end(start, OPENING):
                raise LinkBroken(f"{self.where} opens no session: it does not answer")
            yield clients[0]
        finally:
            for client in clients:
                client.exit()
                await to_end(client.wait_closed)
            hand_back()

    async def _opened(self, session: ChannelSession, create: Callable[[], Awaitable[None]]) -> None:
        """Have a session opened by a task of ours: it ends what a cancelled caller left."""
        job = Job(create)
        self._tasks.start_soon(job.run)
        try:
            await job.done.wait()
        except BaseException:
            self._tasks.start_soon(_forget_later, job, session)
            raise
        try:
            job.outcome()
        except asyncio.CancelledError:  # the task's, not the caller's: the connection has ended
            raise ConnectionAbortedError from None

    def _refused(self, times: int, error: asyncssh.ChannelOpenError) -> int:
        """The host allows fewer sessions than we thought: wait for one of ours to end."""
        others = self._sessions.taken - 1
        self._sessions.limit(others + 1)
        if times >= REFUSED_AGAIN and others <= 1:
            raise SSHError(f"{self.where} opens no session: {error}") from error
        return times + 1

    def on_up(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called whenever the connection is up again; gives what undoes this."""
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)


async def open_session(
    ssh: asyncssh.SSHClientConnection,
    session: ChannelSession,
    command: str,
    pty: PtySize | None = None,
) -> None:
    """Open a session and give it a command for the login shell.

    Raises:
        TimeoutError, asyncssh.Error, OSError: the host does not open it.
    """
    with anyio.fail_after(OPENING):
        await ssh.create_session(
            lambda: session,
            command,
            env=(),
            send_env=(),
            encoding=None,
            request_pty="force" if pty else False,
            term_type="xterm-256color" if pty else None,
            term_size=(pty.columns, pty.rows, 0, 0) if pty else (),
            window=WINDOW,
        )


async def _forget_later(job: Job[None], session: ChannelSession) -> None:
    await job.done.wait()
    session.forget()


def _again(error: MachineError) -> MachineError:
    """The same error for another caller."""
    again = type(error)(str(error))
    again.__cause__ = error.__cause__
    return again
