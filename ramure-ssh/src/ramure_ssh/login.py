"""Logging in to a host: which keys and ciphers, whom to trust, and what went wrong."""

from __future__ import annotations

import errno
import inspect
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
from anyio import to_thread

from ramure.values import Json
from ramure_ssh.address import Address
from ramure_ssh.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    SSHError,
)
from ramure_ssh.image import Secret, SSHImage

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
"""Best first: docs/decisions/ssh.md has the figures."""

CONNECTING = 30.0
"""Seconds in which a host has to answer, and to let us in."""

SSH_PORT = 22

NOBODY: tuple[list[str], list[str], list[str]] = ([], [], [])
"""Whom a host may be, where no key is known."""

LOCAL = frozenset({errno.ENOENT, errno.EACCES, errno.EISDIR})
"""Errors of files on this computer; no network gives these."""

SILENT = 3
"""Questions without an answer after which a connection is given up."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into an account. Equal ones share a connection."""

    address: Address
    keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    config: str | None = None
    known_hosts: str | None = None
    keepalive: float = 5.0
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
            image.keepalive,
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

    async def connect(self) -> asyncssh.SSHClientConnection:
        """A new connection; may be cancelled at any time.

        Raises:
            SSHError: as its kinds say; only ``HostUnreachable`` may be otherwise the next time.
        """
        guard = _Guard()
        try:
            return await asyncssh.connect(**await self._arguments(guard))
        except (OSError, asyncssh.Error, ValueError) as error:
            raise explain(self.address, error, guard) from error

    async def _arguments(self, guard: _Guard) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "port": self.address.port,
            "username": self.address.user,
            "config": self.config,
            "client_keys": list(self.keys),
            "client_certs": list(self.certificates),
            "known_hosts": self.known_hosts,
            "password": await _ask(self.password, "RAMURE_SSH_PASSWORD"),
            "passphrase": await _ask(self.passphrase, "RAMURE_SSH_PASSPHRASE"),
        }
        arguments: dict[str, Any] = {
            **{name: value for name, value in chosen.items() if value},
            "host": self.address.host,
            "client_factory": lambda: guard,
            "keepalive_interval": self.keepalive,
            "keepalive_count_max": SILENT,
            "connect_timeout": CONNECTING,
            "login_timeout": CONNECTING,
            "x11_forwarding": False,
            "gss_auth": False,
            "gss_kex": False,
        }
        look = {"config": (), **arguments}  # where connect() has the person's own by default
        # In a thread: it reads files, and deriving a key from a passphrase takes long.
        options = await to_thread.run_sync(lambda: asyncssh.SSHClientConnectionOptions(**look))
        if not options.config.get("Ciphers"):  # a person's own choice is theirs
            arguments["encryption_algs"] = CIPHERS
        if options.known_hosts is None:  # "none" is no files, and not: trust everybody
            arguments["known_hosts"] = NOBODY
        guard.known_hosts = arguments.get("known_hosts") or options.known_hosts or guard.known_hosts
        guard.alias = options.host_key_alias
        return arguments


class _Guard(asyncssh.SSHClient):
    """Is asked about host keys that are not known, trusts none, and remembers what was shown."""

    def __init__(self) -> None:
        self.known_hosts: Any = str(Path("~/.ssh/known_hosts").expanduser())
        self.alias: str | None = None
        self.shown: tuple[str, str, int, asyncssh.SSHKey] | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown = self.alias or host, addr, port, key
        return False

    def knows(self, host: str, addr: str, port: int) -> bool:
        """Whether any key of the host is known."""
        with suppress(OSError, ValueError):
            number = None if port == SSH_PORT else port
            return any(asyncssh.match_known_hosts(self.known_hosts, host, addr, number)[:2])
        return False


async def _ask(secret: Secret | None, variable: str) -> str | None:
    if secret is None:
        return os.environ.get(variable)
    answer = secret()
    return await answer if inspect.isawaitable(answer) else answer


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
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        needs = "pip install bcrypt" if "bcrypt" in str(error) else "set RAMURE_SSH_PASSPHRASE"
        return LoginRefused(
            f"{where}: a key cannot be read: {error}; where it has a passphrase, add it to an "
            f"ssh-agent (ssh-add), or {needs}"
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
