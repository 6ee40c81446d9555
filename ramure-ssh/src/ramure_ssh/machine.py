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

from ramure._exec import abandon, check_command
from ramure._files import absolute
from ramure._work import to_end
from ramure.backends._marks import MARKS
from ramure.errors import LinkBroken, MachineGone
from ramure.machine import Command, Machine, Process
from ramure.values import ExecResult, MachineRef, PtySize
from ramure_ssh import host
from ramure_ssh.channel import ChannelSession
from ramure_ssh.connection import Connection
from ramure_ssh.errors import UnfitAccount
from ramure_ssh.image import LEASE
from ramure_ssh.process import Killer, SocketProcess, SSHProcess
from ramure_ssh.script import READ, call, exports, line, new_word, quote, words

REMOVAL = 30.0
"""Seconds that the removal of a machine may take."""

DIALS, PAUSE = 100, 0.05
"""How often a socket is dialled where somebody is about to listen; seconds in between."""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

WHERE = """cd -- "$w" 2>/dev/null||{ e=EACCES;[ -d "$w" ]||e=ENOTDIR;[ -e "$w" ]||e=ENOENT;\
printf '%s\\n' "$m $e $w";exit 1; };"""
"""Goes to the working directory ``w``."""

PROGRAM = """case $1 in */*) [ -f "$1" ]&&[ -x "$1" ]||{ e=EACCES;[ -e "$1" ]||e=ENOENT;\
printf '%s\\n' "$m $e $1";exit 1; };;*) command -v -- "$1" >/dev/null 2>&1||\
{ printf '%s\\n' "$m ENOENT $1";exit 1; };;esac;"""
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
        self._known_users: set[str] = set()

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
        machine = self if timeout is None else _Timed(self, timeout)
        return await Machine.exec(machine, command, timeout=timeout, **how)  # type: ignore[arg-type]

    async def start(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
        due: float | None = None,
    ) -> SSHProcess:
        """As ``open_process``; the host itself kills it ``due`` seconds after its start."""
        check_command(command, env)
        self._check_there()
        mark, word = secrets.token_hex(8), new_word()
        where = self.workdir if cwd is None else absolute(self, cwd)
        if user is not None:
            await self._introduce(user)
        script = self._script(command, where, env or {}, user, word, mark, due)
        if pty is None:
            session = await self._session(self._as(user, f"sh -c '{READ}'"))
        else:
            file = await self._store(script, user, mark)
            session = await self._session(self._as(user, f"sh {quote(file)}"), pty)
        process = SSHProcess(self.connection, self.name, session, self._killer(mark, user))
        try:
            if pty is None:
                await process.begin(script, word)
            else:
                await process.begun(word)
        except UnfitAccount as error:
            session.close()
            if user is None:
                raise
            raise PermissionError(errno.EPERM, f"cannot run as {user!r}: {error}") from None
        except (OSError, MachineGone):
            session.close()
            raise
        except BaseException:
            await abandon(process)
            raise
        return process

    async def _session(self, command: str, pty: PtySize | None = None) -> ChannelSession:
        return await self.connection.start(command, pty, patience=self.record.lease)

    async def dial(self, path: str, *, patient: bool) -> Process:
        """See ``DialsSockets``."""
        self._check_there()
        for _ in range(DIALS if patient else 0):
            with suppress(OSError):
                return SocketProcess(await self.connection.dial(path))
            await anyio.sleep(PAUSE)
        return SocketProcess(await self.connection.dial(path))

    # --- what the host is told

    def _script(
        self,
        command: Command,
        where: str,
        env: Mapping[str, str],
        user: str | None,
        word: str,
        mark: str,
        due: float | None,
    ) -> str:
        marks = f'export {MARKS}="${{{MARKS}:+${MARKS}:}}{self.record.mark}:{mark}";'
        items: Sequence[str] = (
            [self.record.shell, "-c", command] if isinstance(command, str) else command
        )
        parts = [
            f"m={word};d={quote(self.state_dir)};w={quote(where)};",
            self._guard(mark, due) if user is None else _identity(user),
            WHERE,
            exports({**self.record.env, **env}),
            marks,
            f"set -- {words(items)};",
            PROGRAM if not isinstance(command, str) else "",
            f'[ ! -e "$d/no-{mark}" ]||exit 1;',
            'echo "$m ok $$";exec "$@"',
        ]
        return "".join(parts)

    def _guard(self, mark: str, due: float | None) -> str:
        """What only the machine's own user can say: that it is there; the deadline."""
        there = '[ -d "$d" ]&&[ ! -e "$d/ending" ]||{ echo "$m gone";exit 1; };'
        if due is None:
            return there
        # The host may look for the first time at once.
        return f'{there}echo "{math.ceil(due) + self.record.every} $$" >"$d/due-{mark}";'

    def _as(self, user: str | None, command: str) -> str:
        if user is None:
            return f"exec {command}"
        become = "runuser" if self.record.become == "runuser" else "sudo -n -H"
        return f"exec {become} -u {user} -- {command}"

    async def _introduce(self, user: str) -> None:
        """Leave a note that ``user`` may have processes here; whoever removes the machine looks."""
        if not _USER.fullmatch(user):
            raise PermissionError(errno.EPERM, f"{user!r} is no name of a user")
        if user not in self._known_users:
            note = f"{self.state_dir}/as-{user}"
            await Machine.exec(self, ["sh", "-c", ': >"$0"', note], check=True, cwd="/")
            self._known_users.add(user)

    async def _store(self, script: str, user: str | None, mark: str) -> str:
        """Put a script where a terminal's shell finds it: what is typed there would be shown."""
        word = new_word()
        if user is None:
            path = f"f={quote(f'{self.state_dir}/start-{mark}')}"
        else:
            path = "f=$(mktemp /tmp/.ramure-XXXXXXXX)"
        session = await self._session(self._as(user, f"sh -c '{READ}'"))
        process = SSHProcess(self.connection, self.name, session, _nobody)
        try:
            keep = 'IFS= read -r s&&printf "%s\\n" "$s" >"$f"'
            session.write(line(f'umask 077;{path}&&{keep}&&echo "{word} ok $$ $f"'))
            session.write(b'rm -f "$0";' + line(script))
            return " ".join(await process.begun(word))
        except UnfitAccount as error:
            if user is None:
                raise
            raise PermissionError(errno.EPERM, f"cannot run as {user!r}: {error}") from None
        finally:
            session.close()

    # --- its end

    def _killer(self, mark: str, user: str | None) -> Killer:
        if user is None or self.record.become == "runuser":
            return partial(self.connection.warden.kill, self.name, mark)
        return partial(self._kill_as, user, mark)

    async def _kill_as(self, user: str, mark: str, pid: int | None) -> None:
        """Kill what belongs to another user: only they may."""
        with anyio.move_on_after(5):
            session = await self.connection.start(self._as(user, f"sh -c '{READ}'"))
            try:
                session.write(line(call("slay", mark, str(pid or ""))))
                await session.ended.wait()
            finally:
                session.close()

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

    def _check_there(self) -> None:
        if self._gone or self.name in self.connection.warden.gone:
            raise MachineGone("it has been destroyed", machine=self.name)


class _Timed(Machine):
    """A machine for one command with a deadline, which the host is to know."""

    def __init__(self, machine: SSHMachine, timeout: float) -> None:
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
            command, cwd=cwd, env=env, user=user, pty=pty, due=self._timeout
        )

    async def destroy(self) -> None:
        """Nothing: it is not this object's to end."""


def _identity(user: str) -> str:
    """What some ways to become a user leave as it was."""
    return f"HOME=~{user};USER={user};LOGNAME={user};export HOME USER LOGNAME;"


async def _nobody(_: int | None) -> None:
    """There is nobody to kill."""
