"""A machine on an SSH host, without a relay: a folder there, and all that was started from here."""

from __future__ import annotations

import errno
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio import BrokenResourceError

from ramure._exec import abandon, check_command
from ramure._files import absolute
from ramure._work import to_end
from ramure.backends._marks import MARKS
from ramure.errors import LinkBroken, MachineGone
from ramure.machine import Command, LocalPath, Machine, Process
from ramure.relay import RelayedMachine
from ramure.values import ExecResult, MachineRef, PtySize
from ramure_ssh import host, sftp
from ramure_ssh.channel import ChannelSession
from ramure_ssh.connection import Connection
from ramure_ssh.errors import UnfitAccount
from ramure_ssh.image import LEASE
from ramure_ssh.process import Killer, SocketProcess, SSHProcess
from ramure_ssh.script import BOOT, READ, exports, given, new_word, quote, words

REMOVAL = 30.0
"""Seconds that the removal of a machine may take."""

DIALS, PAUSE = 100, 0.05
"""How often a socket is dialled where somebody is about to listen; seconds in between."""

HEARD = b"\x04"
"""What a command in a terminal waits for once it has said that it begins: programs may throw away
what is on its way out of their terminal, as tmux does. Ctrl-D, which terminals do not show."""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_SHELL = f"sh -c '{READ}'"

WHERE = """cd -- "$ramure_where" 2>/dev/null||{ ramure_why=EACCES;\
[ -d "$ramure_where" ]||ramure_why=ENOTDIR;[ -e "$ramure_where" ]||ramure_why=ENOENT;\
printf '%s\\n' "$ramure_word $ramure_why $ramure_where";exit 1; };"""
"""Goes to the working directory ``ramure_where``."""

PROGRAM = """case $1 in */*) [ -f "$1" ]&&[ -x "$1" ]||{ ramure_why=EACCES;\
[ -e "$1" ]||ramure_why=ENOENT;printf '%s\\n' "$ramure_word $ramure_why $1";exit 1; };;\
*) command -v -- "$1" >/dev/null 2>&1||\
{ printf '%s\\n' "$ramure_word ENOENT $1";exit 1; };;esac;"""
"""Looks whether there is the program."""


@dataclass(frozen=True, slots=True)
class Record:
    """All there is to know of a machine.

    Attributes:
        name, mark, env: its name; what all that it starts carries; its image's environment.
        folder: its own on the host.
        home, workdir: of the user there; where commands run.
        shell: what runs commands that are strings.
        become: what makes another user of ours.
        every: seconds between two looks of the host at what is due.
        lease: seconds that it goes on while the program is out of reach.
    """

    name: str
    folder: str
    mark: str
    home: str
    workdir: str
    shell: str = "sh"
    become: str = "sudo"
    every: int = 10
    lease: float = LEASE
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class SSHMachine(Machine):
    """Commands run as the account's user, in its environment and the image's."""

    transports = ("ssh",)

    def __init__(self, connection: Connection, record: Record, ref: MachineRef) -> None:
        self.connection = connection
        self.record = record
        self.name, self.ref = record.name, ref
        self.workdir, self.state_dir = record.workdir, record.folder
        self.tools_dir = f"{record.home}/.ramure/tools"
        self._gone = False
        self._sessions: set[ChannelSession] = set()

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``; another ``user`` by a ``sudo`` that asks for nothing."""
        return await self.start(command, cwd=cwd, env=env, user=user, pty=pty)

    async def exec(
        self, command: Command, *, timeout: float | None = None, **how: object
    ) -> ExecResult:
        """See ``Machine.exec``. The host keeps the deadline, too, where it cannot be reached."""
        brief = _Brief(self, timeout)
        return await Machine.exec(brief, command, timeout=timeout, **how)  # type: ignore[arg-type]

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """See ``Machine.write_file``."""
        await Machine.write_file(_Brief(self), path, data, mode=mode)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        common = partial(Machine.upload, _Brief(self), local, remote)
        await sftp.unless_tar(self, common, partial(sftp.upload, self, local, remote))

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        common = partial(Machine.download, _Brief(self), remote, local)
        await sftp.unless_tar(self, common, partial(sftp.download, self, remote, local))

    async def start(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
        due: float | None = None,
        lasting: bool = True,
    ) -> SSHProcess:
        """As ``open_process``; the host itself kills it ``due`` seconds after its start.

        ``lasting``: it need not end by itself.
        """
        check_command(command, env, cwd)
        self._check_there()
        if user is not None and not _USER.fullmatch(user):
            raise PermissionError(errno.EPERM, f"{user!r} is no name of a user")
        mark, word = secrets.token_hex(8), new_word()
        killer = partial(self.connection.warden.kill, self.name, mark, user)
        scripts = [
            self._door(word, mark, user, due),
            self._script(word, mark, command, cwd, env or {}, user, waits=pty is not None),
        ]
        try:
            if pty is None:
                session = await self._session(BOOT, lasting=lasting)
                said = self._in_turn(user, *scripts)
            else:
                session = await self._in_terminal(pty, mark, user, killer, *scripts)
                said = []
            process = SSHProcess(self.connection, self.name, session, killer, user)
            await _begin(process, said, word)
            if pty is not None:
                with suppress(BrokenResourceError):  # `wait` tells
                    session.write(HEARD)
        except UnfitAccount as error:
            if user is None:
                raise
            raise PermissionError(errno.EPERM, f"cannot run as {user!r}: {error}") from None
        return process

    async def _session(
        self, command: str, pty: PtySize | None = None, *, lasting: bool = False
    ) -> ChannelSession:
        session = await self.connection.start(
            command, pty, patience=self.record.lease, lasting=lasting
        )
        self._sessions = {one for one in self._sessions if not one.closed.is_set()} | {session}
        return session

    async def dial(self, path: str, *, patient: bool) -> Process:
        """See ``DialsSockets``."""
        self._check_there()
        for _ in range(DIALS if patient else 0):
            with suppress(OSError):
                return SocketProcess(await self.connection.dial(path))
            await anyio.sleep(PAUSE)
        return SocketProcess(await self.connection.dial(path))

    # --- what the host is told

    def _door(self, word: str, mark: str, user: str | None, due: float | None) -> str:
        """What our own user says first: that it may begin, whose it is, until when."""
        # The host may look for the first time at once.
        left = "-" if due is None else math.ceil(due) + self.record.every
        parts = [
            f"ramure_word={word};ramure_folder={quote(self.state_dir)};",
            '[ -d "$ramure_folder" ]&&[ ! -e "$ramure_folder/ending" ]||',
            '{ echo "$ramure_word gone";exit 1; };',
            f': >"$ramure_folder/as-{user}";' if user else "",
            f'echo "{left} $$ {user or ""}" >"$ramure_folder/due-{mark}";' if user or due else "",
            f'[ ! -e "$ramure_folder/no-{mark}" ]||exit 1;',
        ]
        return "".join(parts)

    def _script(
        self,
        word: str,
        mark: str,
        command: Command,
        cwd: str | None,
        env: Mapping[str, str],
        user: str | None,
        *,
        waits: bool,
    ) -> str:
        """What whoever runs the command says; ``waits``: for ``HEARD``."""
        marks = f'export {MARKS}="${{{MARKS}:+${MARKS}:}}{self.record.mark}:{mark}";'
        items: Sequence[str] = (
            [self.record.shell, "-c", command] if isinstance(command, str) else command
        )
        where = self.workdir if cwd is None else absolute(self, cwd)
        parts = [
            f"ramure_word={word};ramure_folder={quote(self.state_dir)};",
            f"ramure_where={quote(where)};",
            _identity(user) if user else "",
            WHERE,
            exports(env := {**self.record.env, **env}),
            marks,
            f"set -- {words(items)};",
            PROGRAM if not isinstance(command, str) else "",
            f'set -- {words(own)} "$@";' if (own := given(env)) else "",
            f'[ ! -e "$ramure_folder/no-{mark}" ]||exit 1;',
            'echo "$ramure_word ok $$";',
            "read -r ramure_line;" if waits else "",
            'exec "$@"',
        ]
        return "".join(parts)

    def _as(self, user: str, command: str) -> str:
        become = "runuser" if self.record.become == "runuser" else "sudo -n -H"
        return f"exec {become} -u {user} -- {command}"

    def _in_turn(self, user: str | None, door: str, script: str) -> list[str]:
        """The scripts, of which each reads the next."""
        return [door + script] if user is None else [door + self._as(user, _SHELL), script]

    async def _in_terminal(
        self,
        pty: PtySize,
        mark: str,
        user: str | None,
        killer: Killer,
        door: str,
        script: str,
    ) -> ChannelSession:
        """A session with a terminal, which would show what is typed: its shell gets files."""
        word = new_word()
        ours = f"{self.state_dir}/start-{mark}"
        # Called by the marks: whoever kills what carries one removes it.
        theirs = f"/tmp/.ramure-{self.record.mark}-{mark}"  # noqa: S108 never one that is there
        done = f'echo "{word} ok $$"'
        if user is None:
            said = [_keep(ours, done), door + script]
        else:
            there = door + self._as(user, f"sh {theirs}")
            said = [_keep(ours, self._as(user, _SHELL)), there, _keep(theirs, done), script]
        storing = SSHProcess(self.connection, self.name, await self._session(BOOT), killer)
        await _begin(storing, said, word)
        storing.discard()
        try:
            return await self._session(f"exec sh {quote(ours)}", pty, lasting=True)
        except BaseException:
            await to_end(partial(killer, None))
            raise

    # --- its end

    async def destroy(self) -> None:
        """Kill what still runs there, and remove the state folder. The work stays.

        Raises:
            LinkBroken: the host is out of reach; it removes the machine by itself.
        """
        if self._gone:
            return
        self._gone = True
        await to_end(self._remove, REMOVAL + 1)

    async def _remove(self) -> None:
        try:
            with anyio.fail_after(REMOVAL):
                await host.remove(self.connection, self.record.folder, self.record.mark, self.name)
        except TimeoutError:
            self._gone = False
            raise LinkBroken(
                f"{self.connection.where} is out of reach; it removes the machine by itself when "
                "its lease is over",
                machine=self.name,
            ) from None
        finally:
            self.connection.disown(self.name)
            for session in self._sessions:
                session.close()

    def _check_there(self) -> None:
        if self._gone or self.name in self.connection.warden.gone:
            raise MachineGone("it has been destroyed", machine=self.name)


class RelayedSSHMachine(RelayedMachine):
    """One whose commands and files go through a relay; but folders where there is no ``tar``."""

    plain: SSHMachine

    @property
    def _has_beside(self) -> bool:
        return super()._has_beside and self.plain.connection.has_session

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        common = partial(super().upload, local, remote)
        await sftp.unless_tar(self.plain, common, partial(sftp.upload, self.plain, local, remote))

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        common = partial(super().download, remote, local)
        await sftp.unless_tar(self.plain, common, partial(sftp.download, self.plain, remote, local))


class _Brief(Machine):
    """A machine for what ends by itself, perhaps with a deadline, which the host is to know."""

    def __init__(self, machine: SSHMachine, timeout: float | None = None) -> None:
        self._machine, self._timeout = machine, timeout
        self.name, self.workdir = machine.name, machine.workdir

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``."""
        return await self._machine.start(
            command, cwd=cwd, env=env, user=user, pty=pty, due=self._timeout, lasting=False
        )

    async def destroy(self) -> None:
        """Nothing: it is not this object's to end."""


def _keep(file: str, then: str) -> str:
    """What puts the next line into a new file, as a script that removes itself."""
    # The third character that separates words by default is the newline.
    own = 'rm -f "$0";ramure_n=${IFS#??};'
    return f'umask 077;set -C;IFS= read -r s&&echo {quote(own)}"$s" >{quote(file)}&&{then}'


async def _begin(process: SSHProcess, scripts: Sequence[str], word: str) -> None:
    """Have a process begin, or leave nothing of it."""
    try:
        await process.begin(scripts, word)
    except (OSError, MachineGone, UnfitAccount):
        process.discard()
        raise
    except BaseException:
        await abandon(process)
        raise


def _identity(user: str) -> str:
    """What some ways to become a user leave as it was."""
    return f"HOME=~{user};USER={user};LOGNAME={user};export HOME USER LOGNAME;"
