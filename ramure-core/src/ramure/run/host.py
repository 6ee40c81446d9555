"""Which computer this is, for what is kept in a home that several computers may share.

Whether a run lives is told by a lock, and a lock reaches no further than one kernel does. So a
run's ledger says on which it was made::

    "host": "box"       the computer's name, for people
    "boot": "…"         the kernel, from its start to its end; containers share that of their host
    "machine": "…"      the installation, which outlasts a restart; not said in a container, whose
                        image may have brought it along to any number of computers

A name alone would not do: a computer is renamed, and a container gets a new one each time.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from hashlib import blake2s
from pathlib import Path
from typing import Any

BOOT = "proc/sys/kernel/random/boot_id"
MACHINE = ("etc/machine-id", "var/lib/dbus/machine-id")
CONTAINER = (".dockerenv", "run/.containerenv", "run/systemd/container")


@cache
def identity(root: Path = Path("/")) -> dict[str, str]:
    """What a ledger says of this computer; "" for what cannot be known."""
    contained = any((root / name).exists() for name in CONTAINER)
    machine = "" if contained else next(filter(None, (_read(root / name) for name in MACHINE)), "")
    return {"host": socket.gethostname(), "boot": _read(root / BOOT), "machine": _hidden(machine)}


def is_here(run: Mapping[str, Any]) -> bool:
    """Whether a run, by what its ledger says, is one of this computer: then its lock tells all."""
    here = identity()
    there = {name: str(run.get(name) or "") for name in here}
    if there["boot"] and there["boot"] == here["boot"]:
        return True
    if there["machine"] and here["machine"]:
        return there["machine"] == here["machine"]
    return there["host"] in ("", here["host"])


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _hidden(machine: str) -> str:
    """The machine's id for ramure alone: the true one is not to be told."""
    return blake2s(machine.encode(), key=b"ramure", digest_size=16).hexdigest() if machine else ""
