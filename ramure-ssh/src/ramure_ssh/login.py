"""Logging in to a host: which keys and ciphers, whom to trust, and what went wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh
from anyio import to_thread

from ramure.errors import PlacementError
from ramure.values import Host, Json
from ramure_ssh.address import Address, read_address
from ramure_ssh.answers import Answers
from ramure_ssh.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    SSHError,
)
from ramure_ssh.image import Secret, SSHImage
from ramure_ssh.options import Account, account, configs, known_hosts

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
"""Best first: docs/decisions/ssh.md has the figures."""

CONNECTING = 30.0
"""Seconds in which a host has to answer, and to let us in."""

SSH_PORT = 22

NOBODY: tuple[list[str], list[str], list[str]] = ([], [], [])
"""Whom a host may be, where no key is known."""

LOCAL = frozenset({errno.ENOENT, errno.EACCES, errno.EISDIR})
"""Errors of files on this computer; no network gives these."""

LOCKED = (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)
"""What is raised of keys that need a passphrase, or another one."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into an account."""

    address: Address
    keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    config: str | None = None
    known_hosts: str | None = None
    password: Secret | None = field(default=None, repr=False)
    passphrase: Secret | None = field(default=None, repr=False)

    @classmethod
    def of(cls, address: Address, image: SSHImage) -> Login:
        """The one that an image asks for."""
        return cls(
            address,
            tuple(_path(key) for key in image.keys),
            tuple(_path(certificate) for certificate in image.certificates),
            _path(image.config) if image.config else None,
            _path(image.known_hosts) if image.known_hosts else None,
            image.password,
            image.passphrase,
        )

    def data(self) -> dict[str, Json]:
        """All of it that is no secret, for a reference."""
        return {
            "keys": list(self.keys),
            "certificates": list(self.certificates),
            "config": self.config,
            "known_hosts": self.known_hosts,
        }

    @classmethod
    def read(cls, address: Address, data: dict[str, Any]) -> Login:
        """What ``data`` gave."""
        return cls(
            address,
            tuple(data["keys"]),
            tuple(data["certificates"]),
            data["config"],
            data["known_hosts"],
        )

    async def account(self) -> Account:
        """Which account this is, whatever it is called here: equal ones share a connection.

        Raises:
            SSHError: what is to be read of it cannot be.
        """
        try:
            options = await self._options({**self._given(), "client_keys": None})
        except (OSError, asyncssh.Error, ValueError) as error:
            raise explain(self.address, error, _Guard()) from error
        known = (self.known_hosts,) if self.known_hosts else ()
        return account(options, self.keys, self.certificates, known)

    async def connect(self, answers: Answers) -> asyncssh.SSHClientConnection:
        """A new connection; may be cancelled at any time.

        Raises:
            SSHError: as its kinds say; only ``HostUnreachable`` may be otherwise the next time.
        """
        guard = _Guard()
        try:
            if answers.may_unlock:
                # Perhaps it is not needed.
                with suppress(asyncssh.PermissionDenied, LoginRefused, *LOCKED):
                    return await self._log_in(guard, None)
            guard.answers = answers
            return await self._log_in(guard, await answers.passphrase())
        except (OSError, asyncssh.Error, ValueError) as error:
            raise explain(self.address, error, guard) from error

    async def _log_in(
        self,
        guard: _Guard,
        passphrase: str | None,
        way: asyncssh.SSHClientConnection | None = None,
        towards: tuple[Address, ...] = (),
    ) -> asyncssh.SSHClientConnection:
        """Log in over ``way``, else over hosts that the configuration names; to go ``towards``."""
        arguments: dict[str, Any] = {
            **self._given(),
            **({"passphrase": passphrase} if passphrase else {}),
            "client_factory": lambda: guard,
            "connect_timeout": CONNECTING,
            "login_timeout": CONNECTING,
            "x11_forwarding": False,
            "gss_auth": False,
            "gss_kex": False,
        }
        options = await self._options(arguments)
        if not options.config.get("Ciphers"):  # a person's own choice is theirs
            arguments["encryption_algs"] = CIPHERS
        known = [self.known_hosts] if self.known_hosts else known_hosts(options.config)
        arguments["known_hosts"] = known or NOBODY  # no files would mean the person's own
        guard.expect(arguments["known_hosts"], options.host_key_alias)
        if way is None and options.tunnel:
            way = await self._jump(str(options.tunnel), passphrase, (self.address, *towards))
        try:
            ssh = await asyncssh.connect(**arguments, tunnel=way)
        except BaseException:
            if way is not None:
                way.abort()
            raise
        ssh.set_tunnel(way)  # which ends with it
        return ssh

    async def _jump(
        self, hosts: str, passphrase: str | None, towards: tuple[Address, ...]
    ) -> asyncssh.SSHClientConnection | None:
        """Log in to hosts on the way, each over the last one, by ``ProxyJump``.

        asyncssh would do it, but check their keys by rules of its own.

        Raises:
            SSHError: as ``connect``; it says where that was.
        """
        way = None
        try:
            for host in hosts.split(","):
                hop = replace(self, address=_jump_host(host, towards), keys=(), certificates=())
                way = await hop.pass_through(passphrase, way, towards)
        except BaseException as error:
            if way is not None:
                way.abort()
            if isinstance(error, SSHError):
                raise type(error)(f"on the way to ssh://{self.address}: {error}") from error
            raise
        return way

    async def pass_through(
        self,
        passphrase: str | None,
        way: asyncssh.SSHClientConnection | None,
        towards: tuple[Address, ...],
    ) -> asyncssh.SSHClientConnection:
        """A new connection for another one to go over. The host gets no password.

        Raises:
            SSHError: as ``connect``.
        """
        guard = _Guard()
        try:
            return await self._log_in(guard, passphrase, way, towards)
        except (OSError, asyncssh.Error, ValueError) as error:
            raise explain(self.address, error, guard) from error

    def _given(self) -> dict[str, Any]:
        """What is said here; the rest is as the configuration has it."""
        chosen: dict[str, Any] = {
            "port": self.address.port,
            "username": self.address.user,
            "client_keys": list(self.keys),
            "client_certs": list(self.certificates),
        }
        config = [self.config] if self.config else configs()
        given = {name: value for name, value in chosen.items() if value}
        return {**given, "host": self.address.host, "config": config}

    async def _options(self, arguments: dict[str, Any]) -> asyncssh.SSHClientConnectionOptions:
        # In a thread: it reads files, and deriving a key from a passphrase takes long.
        return await to_thread.run_sync(lambda: asyncssh.SSHClientConnectionOptions(**arguments))


class _Guard(asyncssh.SSHClient):
    """Is asked while logging in, by the host and about it.

    It trusts no host key that is not known, and remembers what was shown.

    Attributes:
        answers: to what the host asks; None: it gets none.
    """

    def __init__(self) -> None:
        self.answers: Answers | None = None
        self.shown: tuple[str, str, int, asyncssh.SSHKey] | None = None
        self._said: set[str] = set()
        self.expect(NOBODY, None)

    def expect(self, known_hosts: Any, alias: str | None) -> None:
        """These keys are known; the host has another name there."""
        self._known_hosts, self._alias = known_hosts, alias

    async def password_auth_requested(self) -> str | None:
        return await self._password("password")

    def kbdint_auth_requested(self) -> str | None:
        return "" if self.answers is not None else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Password questions are answered, and no others: there is no one to be asked."""
        if not prompts:
            return []
        (question, _), *more = prompts
        if more or not any(word in question.lower() for word in ("password", "passcode")):
            return None
        password = await self._password("keyboard")
        return None if password is None else [password]

    async def _password(self, way: str) -> str | None:
        """The password, once for each way to say it: a wrong one is no better the next time."""
        if self.answers is None or way in self._said:
            return None
        self._said.add(way)
        return await self.answers.password()

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown = self._alias or host, addr, port, key
        return False

    def knows(self, host: str, addr: str, port: int) -> bool:
        """Whether any key of the host is known."""
        with suppress(OSError, ValueError):
            number = None if port == SSH_PORT else port
            return any(asyncssh.match_known_hosts(self._known_hosts, host, addr, number)[:2])
        return False


def _jump_host(text: str, towards: tuple[Address, ...]) -> Address:
    try:
        address = read_address(Host("ssh", None, text.strip().removeprefix("ssh://")))
    except PlacementError as error:
        raise SSHError(f"ProxyJump names no host: {error}") from error
    if address in towards:
        raise SSHError(f"ProxyJump leads from ssh://{address} to itself")
    return address


def _path(path: str | os.PathLike[str]) -> str:
    return str(Path(path).expanduser().absolute())


def explain(address: Address, error: Exception, guard: _Guard) -> SSHError:
    """The error of ours that says what this one means."""
    where = f"ssh://{address}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _host_key(where, error, guard)
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefused(
            f"{where} refused all keys and passwords that were offered: add a key to it "
            f"(ssh-copy-id {address.host}), name one with keys= in SSHImage or IdentityFile in "
            "~/.ssh/config, start an ssh-agent, or set RAMURE_SSH_PASSWORD, or for a locked key "
            "RAMURE_SSH_PASSPHRASE"
        )
    if isinstance(error, LOCKED):
        return LoginRefused(
            f"{where}: a key cannot be read: {error}; where it has a passphrase, add it to an "
            "ssh-agent (ssh-add), or set RAMURE_SSH_PASSPHRASE"
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return SSHError(f"{where}: no algorithm is known to both sides: {error}")
    if isinstance(error, asyncssh.ConfigParseError):
        return SSHError(f"{where}: {error} in its configuration; mend ~/.ssh/config")
    local = isinstance(error, OSError) and error.errno in LOCAL
    if local or isinstance(error, ValueError):
        return SSHError(f"{where}: {error}")
    why = str(error) or "no answer in time"
    return HostUnreachable(
        f"{where} cannot be reached: {why}; see whether `ssh {address.host}` gets there"
    )


def _host_key(where: str, error: Exception, guard: _Guard) -> SSHError:
    if guard.shown is None:
        return HostKeyUnknown(
            f"{where}: {error}; nothing has been sent. See with `ssh -v` which key it shows"
        )
    host, addr, port, key = guard.shown
    kind = key.get_algorithm().removeprefix("ssh-").upper()
    fingerprint = f"{kind} key {key.get_fingerprint()}"
    if guard.knows(host, addr, port):
        name = host if port == SSH_PORT else f"[{host}]:{port}"
        return HostKeyChanged(
            f"{where} shows another host key than the known one: now the {fingerprint}. Nothing "
            "has been sent. Somebody may be in between, or the host was installed anew: ask "
            f"whoever runs it. If the key is right: ssh-keygen -R '{name}', then connect once "
            "with ssh"
        )
    command = f"ssh {host}" if port == SSH_PORT else f"ssh -p {port} {host}"
    return HostKeyUnknown(
        f"{where} is not known yet: it shows the {fingerprint}. Nothing has been sent. Compare the "
        f"fingerprint with the host's own, then connect once with `{command}` and accept it"
    )
