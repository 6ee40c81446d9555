"""What a run has made, written down before it is made.

``runtimes/{id}/ledger.jsonl``, owner-only, one JSON object a line:

    {"op": "run", "id": …, "program": …, "pid": …, "started": …, "logs": …,
     "host": hostname, "boot": …, "machine": …}                         as in ``host.py``
    {"op": "making", "name": …, "backend": …, "host": "docker+ssh://me@box"}
    {"op": "made", "name": …, "data": {…}}
    {"op": "gone", "name": …}

Whoever cleans up after a run that died (its keeper, the next run, ``ramure gc``) reads it with
``read``: what was being made and is not gone may be there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ramure._home import used_home
from ramure.values import Json, MachineRef

NAME = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """A machine that may be there: where it was being made, and its reference once it was."""

    name: str
    backend: str
    host: str
    ref: MachineRef | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What a ledger says: the run, and the machines that may still be there."""

    run: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)


class Ledger:
    """Writes the ledger of a live run.

    Every method raises ``HomeUnusable`` where the disk does not take it.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(folder / NAME, flags, 0o600)

    def run(self, **facts: Json) -> None:
        """Say what the run is."""
        self._write({"op": "run", **facts})

    def making(self, name: str, backend: str, host: str, *, durable: bool) -> None:
        """Say that a machine is about to be made.

        ``durable`` forces it to disk first (a few ms): where the machine outlives a power loss of
        this computer.
        """
        self._write({"op": "making", "name": name, "backend": backend, "host": host})
        if durable:
            os.fsync(self._file)

    def made(self, ref: MachineRef, name: str) -> None:
        """Say that a machine is there, and how to find it again."""
        self._write({"op": "made", "name": name, "data": dict(ref.data)})

    def gone(self, name: str) -> None:
        """Say that a machine is not, or no longer, there."""
        self._write({"op": "gone", "name": name})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, entry: dict[str, Any]) -> None:
        # One short append to a local file: microseconds, and it must come before what follows.
        with used_home():
            os.write(self._file, msgspec.json.encode(entry) + b"\n")


def read(folder: Path) -> Account:
    """Read the ledger in a run's folder; an empty account where there is none.

    A last line that a crash cut short is left out.
    """
    try:
        lines = (folder / NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return Account()
    run: dict[str, Any] = {}
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        name = entry.get("name", "")
        match entry.get("op"):
            case "run":
                run = entry
            case "making":
                entries[name] = Entry(name, entry["backend"], entry["host"])
            case "made" if name in entries:
                ref = MachineRef(entries[name].backend, name, entry["data"])
                entries[name] = replace(entries[name], ref=ref)
            case "gone":
                entries.pop(name, None)
    return Account(run, entries)
