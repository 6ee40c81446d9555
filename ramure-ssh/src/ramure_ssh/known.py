"""Which hosts were used lately, for ``ramure doctor``: a small file, without secrets. Blocking."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from ramure import paths
from ramure.errors import PlacementError
from ramure.values import Host
from ramure_ssh.address import read_address
from ramure_ssh.login import Login

KEPT = 20
"""Hosts that are remembered."""


def _file() -> Path:
    return paths.home() / "ssh-hosts.json"


def read() -> list[Login]:
    """The ones used last, the latest first."""
    logins = []
    with suppress(OSError, ValueError, KeyError, TypeError, PlacementError):
        for entry in json.loads(_file().read_bytes()):
            address = read_address(Host("ssh", None, entry["host"]))
            logins.append(Login.read(address, entry["login"]))
    return logins


def remember(login: Login) -> None:
    """Put a host first. What cannot be written is no matter."""
    entry = {"host": str(login.address), "login": login.data()}
    others = [{"host": str(one.address), "login": one.data()} for one in read()]
    entries = [entry, *(other for other in others if other != entry)][:KEPT]
    if entries == others:
        return
    with suppress(OSError):
        paths.make_private(paths.home())
        temporary = _file().with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(entries), "utf-8")
        temporary.replace(_file())
