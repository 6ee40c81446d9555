"""Which files OpenSSH would read on this computer, and what they say of a host. Blocking."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import asyncssh

CONFIGS = ("~/.ssh/config", "/etc/ssh/ssh_config")
"""What OpenSSH reads, the first word on a matter counts."""

KNOWN = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
KNOWN_TO_ALL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
"""Where OpenSSH looks for host keys unless it is told otherwise."""

Account = tuple[object, ...]
"""What tells accounts apart, and ways to them: comparable, without secrets."""


def configs() -> list[str]:
    """The configuration files that are there."""
    return _there(CONFIGS)


def known_hosts(config: Any) -> list[str]:
    """The files of known host keys that are there; a missing one is no matter to OpenSSH."""
    users = config.get("UserKnownHostsFile", KNOWN)  # "none" is an empty list
    return _there([*users, *config.get("GlobalKnownHostsFile", KNOWN_TO_ALL)])


def account(options: asyncssh.SSHClientConnectionOptions, *given: tuple[str, ...]) -> Account:
    """Which account it is, whatever it is called here.

    Args:
        options: where it is.
        given: files of keys, certificates and known hosts that a program named itself.
    """
    config: Any = options.config
    said = [config.get(name, ()) for name in ("IdentityFile", "CertificateFile")]
    said.append(known_hosts(config))
    files = tuple(tuple(map(_path, own or other)) for own, other in zip(given, said, strict=True))
    command = options.proxy_command
    way = command if isinstance(command, str) or command is None else tuple(command)
    return options.host, options.port, options.username, options.tunnel, way, *files


def _there(files: Any) -> list[str]:
    return [path for path in map(_path, files) if os.access(path, os.R_OK)]


def _path(file: str) -> str:
    return str(Path(file).expanduser().absolute())
