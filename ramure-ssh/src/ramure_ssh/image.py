"""What an SSH machine starts from, and how one logs in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import ClassVar

from ramure.machine import Image

Secret = Callable[[], str | Awaitable[str | None] | None]
"""Asked for a secret when it is needed; may be async; None: there is none."""

MAX_SESSIONS = 10
"""Sessions at a time over one connection: OpenSSH's own default of ``MaxSessions``."""

LEASE = 120.0
"""Seconds that what runs on a host goes on once the program is out of reach."""

KEEPALIVE = 5.0
"""Seconds of silence after which a host is asked for a sign of life; after three, it is gone."""


@dataclass(frozen=True, slots=True)
class SSHImage(Image):
    """A folder to work in on a host, and how to get there.

    What is not said here is as ``~/.ssh/config`` and OpenSSH's defaults say.

    Attributes:
        workdir: an existing folder on the host; relative to the user's home there, as ``~/src`` is.
            None: the home.
        env: added to the environment of the host. May hold secrets.
        keys: files of private keys to offer.
        certificates: files of certificates that go with them.
        password: asked for the account's password, where the host wants one. Without it, the
            environment's ``RAMURE_SSH_PASSWORD`` is.
        passphrase: asked for the passphrase of ``keys``; else ``RAMURE_SSH_PASSPHRASE``.
        config: a file to read instead of ``~/.ssh/config``.
        known_hosts: a file to read instead of OpenSSH's.
        relay: run ramure's relay there where it can run.
        lease: seconds that what runs there goes on once the program is out of reach; also how
            long the program waits for a host that is out of reach.
        keepalive: seconds of silence after which a host is asked for a sign of life.
        max_sessions: commands at a time over the connection; more have to wait. A host's own
            ``MaxSessions`` is found out where it is lower.
    """

    backend: ClassVar[str] = "ssh"

    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    keys: tuple[str | PathLike[str], ...] = ()
    certificates: tuple[str | PathLike[str], ...] = ()
    password: Secret | None = field(default=None, repr=False)
    passphrase: Secret | None = field(default=None, repr=False)
    config: str | PathLike[str] | None = None
    known_hosts: str | PathLike[str] | None = None
    relay: bool = True
    lease: float = LEASE
    keepalive: float = KEEPALIVE
    max_sessions: int = MAX_SESSIONS
