"""The SSH backend: makes machines on hosts that one can log in to."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, cast

import anyio
from anyio import to_thread

from ramure._work import to_end
from ramure.errors import (
    InvalidName,
    LinkBroken,
    MachineError,
    MachineGone,
    MachineStartFailed,
    PlacementError,
    RelayUnavailable,
)
from ramure.machine import Backend, Image, Machine
from ramure.relay import RelayedMachine
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef
from ramure_ssh import host as hosts
from ramure_ssh import known
from ramure_ssh.address import Address, read_address
from ramure_ssh.connection import Connection
from ramure_ssh.image import SSHImage
from ramure_ssh.login import Login
from ramure_ssh.machine import REMOVAL, Record, RelayedSSHMachine, SSHMachine
from ramure_ssh.options import Account
from ramure_ssh.pulse import Pulse

WATCHES = 12
"""How often within its lease a machine hears from its program."""

NODE = """set -- "$HOME"/.ramure/tools/*/bin/node
for node in "$(command -v node)" "$@"; do [ -x "$node" ] && echo "$node"; done; :"""
"""Says where on a host there is a Node.js."""


ABOUT = ("home", "workdir", "shell", "become")
"""What a host says of each machine, besides what its maker has written there."""

_FIELDS = ("folder", "mark", *ABOUT, "every", "lease")
"""What a reference has of a machine's record."""


class SSHBackend(Backend):
    """Makes machines on SSH hosts; keeps one connection to each account."""

    name: ClassVar[str] = "ssh"
    image_type: ClassVar[type[Image]] = SSHImage

    def __init__(self) -> None:
        self._connections: dict[Account, Connection] = {}
        self._connecting: dict[Account, anyio.Lock] = {}
        self._pulse = Pulse()

    def read_image(self, text: str | None) -> SSHImage:
        """A folder on the host, which exists; relative to the home there."""
        return SSHImage(text)

    def check_host(self, host: Host) -> None:
        """``ssh://[user@]host[:port]``."""
        read_address(host)

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> Machine:
        """See ``Backend.provision``."""
        address = read_address(host)
        if not isinstance(image, SSHImage):
            raise PlacementError(f"the SSH backend makes machines of SSHImage, not of {image!r}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise InvalidName(f"{name!r} cannot be the name of a folder on a host")
        connection = await self._connect(Login.of(address, image), image)
        await to_thread.run_sync(known.remember, connection.login)
        plain = await self._make(connection, image, name, labels)
        if not image.relay:
            return plain
        machine = RelayedSSHMachine(
            plain, lease=image.lease, heartbeat=image.lease / WATCHES, beside=True
        )
        connection.relayed[name] = machine
        try:
            await _start_relay(machine)
        except BaseException:
            await to_end(machine.destroy, REMOVAL)
            raise
        return machine

    async def _make(
        self, connection: Connection, image: SSHImage, name: str, labels: Mapping[str, str]
    ) -> SSHMachine:
        mark = secrets.token_hex(8)
        lease = max(round(image.lease), 2)
        every = max(lease // WATCHES, 1)
        facts = {"name": name, "mark": mark, "lease": lease, "every": every}
        written = json.dumps({**facts, "labels": dict(labels)})
        try:
            made = await hosts.ask(
                connection,
                *("make", name, mark, str(lease), str(every)),
                *(image.workdir or "", written, secrets.token_hex(8)),
                ends_within=REMOVAL,
            )
        except BaseException:
            await to_end(partial(self._unmake, connection, name, mark), REMOVAL)
            raise
        if not made.ok:
            await to_end(partial(self._unmake, connection, name, mark), REMOVAL)
            raise MachineStartFailed(
                f"{connection.where}: {made.stderr.strip()[-500:]}", machine=name
            )
        connection.own(name, lease, every)
        self._pulse.mind(connection)
        folder, home, workdir, shell, become = made.stdout.split("\n")[:5]
        record = Record(name, folder, mark, home, workdir, shell, become, every, lease, image.env)
        return SSHMachine(connection, record, _ref(connection, record))

    async def _unmake(self, connection: Connection, name: str, mark: str) -> None:
        """Remove what was half made, unless it is another's of the same name."""
        with suppress(MachineError):
            for one in await _list(connection):
                if (one["name"], one["mark"]) == (name, mark):
                    await hosts.remove(connection, one["folder"], mark, name)

    async def attach(self, ref: MachineRef) -> Machine:
        """See ``Backend.attach``."""
        connection = await self._reach(ref)
        for one in await _list(connection):
            if one["mark"] == ref.data["mark"]:
                return SSHMachine(connection, _record(ref), ref)
        raise MachineGone("it is not there any more", machine=ref.name)

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        connection = await self._any(read_address(host))
        return [
            _ref(connection, _found(one))
            for one in await _list(connection)
            if labels.items() <= one["labels"].items()
        ]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        connection = await self._reach(ref)
        connection.disown(ref.name)
        remove = partial(
            hosts.remove, connection, str(ref.data["folder"]), str(ref.data["mark"]), ref.name
        )
        if not await to_end(remove, REMOVAL):
            raise LinkBroken(f"{connection.where} did not remove it", machine=ref.name)

    async def aclose(self) -> None:
        """Close the connections. The machines live on until their leases are over."""
        while self._connections:
            _, connection = self._connections.popitem()
            self._pulse.drop(connection)
            await connection.aclose()
        await self._pulse.aclose()

    # --- connections

    async def _reach(self, ref: MachineRef) -> Connection:
        data: dict[str, Any] = dict(ref.data)
        address = read_address(Host("ssh", None, data["host"]))
        login = Login.read(address, data["login"])
        return await self._any(address, login)

    async def _any(self, address: Address, login: Login | None = None) -> Connection:
        """A connection that is there already, or a new one."""
        for connection in self._connections.values():
            if connection.login.address == address and connection.usable:
                return connection
        return await self._connect(login or Login(address))

    async def _connect(self, login: Login, image: SSHImage | None = None) -> Connection:
        wanted = image or SSHImage()
        account = await login.account()
        # One for each account: a host that does not answer holds up nobody but its own.
        async with self._connecting.setdefault(account, anyio.Lock()):
            connection = self._connections.get(account)
            if connection is None or not connection.usable:
                connection = Connection(
                    login,
                    patience=wanted.lease,
                    max_sessions=wanted.max_sessions,
                    keepalive=wanted.keepalive,
                )
                await connection.open()
                self._connections[account] = connection
            elif image is not None:
                connection.suit(max_sessions=image.max_sessions, keepalive=image.keepalive)
        return connection


async def _list(connection: Connection) -> list[dict[str, Any]]:
    """What is known of every machine on a host; its folder, too."""
    said = (await hosts.ask(connection, "list")).stdout.split("\n")
    lines = 2 + len(ABOUT)
    machines = []
    for first in range(0, len(said) - lines, lines):
        folder, text, *about = said[first : first + lines]
        with suppress(ValueError):
            known = {name: value for name, value in zip(ABOUT, about, strict=True) if value}
            machines.append({**json.loads(text), "folder": folder, **known})
    return machines


def _found(one: dict[str, Any]) -> Record:
    """The record of a machine on a host; of one that is half made, only what removes it counts."""
    home = one["folder"].removesuffix(f"/.ramure/machines/{one['name']}")
    fields = {field: one[field] for field in _FIELDS if field in one}
    return Record(one["name"], **{"home": home, "workdir": home, **fields})


def _ref(connection: Connection, record: Record) -> MachineRef:
    return MachineRef(
        "ssh",
        record.name,
        {
            "host": str(connection.login.address),
            "login": connection.login.data(),
            **{name: getattr(record, name) for name in _FIELDS},
        },
    )


def _record(ref: MachineRef) -> Record:
    return Record(ref.name, *(cast("Any", ref.data[name]) for name in _FIELDS))


async def _start_relay(machine: RelayedMachine) -> None:
    """Start the relay where there is what it needs; else it starts when tools are brought."""
    found = await machine.plain.exec(["sh", "-c", NODE], cwd="/")
    for node in found.stdout.splitlines():
        with suppress(RelayUnavailable):
            await machine.start_relay(node)
            return
