"""What local machines have on disk, in ``runtimes/{run}/machines/``.

{name}/          the machine's state folder: where it is, the machine is
records.jsonl    what is known of each, a line; the last of a name counts

A line costs a hundredth of what a file of its own would. Both are there before the machine is used,
and the folder is removed last, so that whatever happens in between, somebody finds the machine and
can finish. Blocking: for worker threads, but ``create``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ramure import paths
from ramure._disk import remove_tree
from ramure._home import used_home
from ramure.backends._marks import new_mark
from ramure.errors import InvalidName, MachineError, MachineGone, MachineStartFailed, UsageError
from ramure.values import MachineRef

RUN = "ramure.run"
FOLDER = "machines"
RECORDS = "records.jsonl"


class Record(msgspec.Struct, frozen=True):
    """All there is to know of a local machine. ``env`` may hold secrets: see ``create``."""

    name: str
    workdir: str
    state_dir: str
    mark: str
    labels: dict[str, str]
    env: dict[str, str]

    @property
    def ref(self) -> MachineRef:
        """What another OS process needs to destroy it; no secrets."""
        return MachineRef("local", self.name, {"state_dir": self.state_dir, "mark": self.mark})


def plan(name: str, labels: Mapping[str, str], workdir: Path, env: Mapping[str, str]) -> Record:
    """Decide on a machine; nothing is made.

    Raises:
        InvalidName: the name cannot be that of a folder.
        UsageError: the labels do not say which run it belongs to.
    """
    if RUN not in labels:
        raise UsageError(f"machine {name!r}: its labels must hold the run's id as {RUN!r}")
    for text in (name, labels[RUN]):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
            raise InvalidName(f"{text!r} cannot be the name of a folder of machines")
    return Record(
        name=name,
        workdir=str(workdir.expanduser().absolute()),
        state_dir=str(paths.runtimes() / labels[RUN] / FOLDER / name),
        mark=new_mark(),
        labels=dict(labels),
        env=dict(env),
    )


def create(record: Record) -> None:
    """Make the state folder and write the record; both owner-only.

    Raises:
        MachineStartFailed: there is no such working directory, or there is such a machine already.
        HomeUnusable: the home does not take it.
    """
    if not Path(record.workdir).is_dir():
        raise MachineStartFailed(f"there is no folder {record.workdir}", machine=record.name)
    folder = Path(record.state_dir)
    with used_home(), _locked(folder.parent) as records:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise MachineStartFailed("there is one of this name", machine=record.name) from None
        try:
            _append(records, record)
        except OSError:
            folder.rmdir()
            raise


def read(ref: MachineRef) -> Record:
    """The machine of a reference.

    Raises:
        MachineGone: it is not there any more.
    """
    for record in _records(_folder(ref).parent / RECORDS):
        if record.name == ref.name:
            return record
    raise MachineGone("it is not there any more", machine=ref.name)


def find(labels: Mapping[str, str]) -> Iterator[Record]:
    """All machines that carry these labels; what cannot be read is left out."""
    for file in paths.runtimes().glob(f"*/{FOLDER}/{RECORDS}"):
        for record in _records(file):
            if labels.items() <= record.labels.items():
                yield record


def remove(ref: MachineRef) -> None:
    """Kill all that the machine runs and remove what is on disk. Idempotent.

    Raises:
        MachineError: something could not be killed; the folder stays, so that it is found again.
    """
    from ramure.backends._tree import kill_tree

    folder = _folder(ref)
    killed = kill_tree(str(ref.data["mark"]))
    paths.remove_sockets(folder.glob("*.sock"))
    remove_tree(folder)
    if not killed:
        folder.mkdir(mode=0o700)
        raise MachineError("some of its processes could not be killed", machine=ref.name)
    if folder.parent.is_dir():
        with _locked(folder.parent):
            _remove_unused(folder.parent)


def _folder(ref: MachineRef) -> Path:
    """The state folder, if it looks like one: what is removed must not be anything else."""
    folder = Path(str(ref.data["state_dir"]))
    if folder.name != ref.name or folder.parent.name != FOLDER or not folder.is_absolute():
        raise UsageError(f"{ref} is no reference to a local machine")
    return folder


@contextmanager
def _locked(machines: Path) -> Iterator[int]:
    """The records, to be added to, while nobody else makes a machine or removes the records."""
    records = _open(machines)
    try:
        yield records
    finally:
        fcntl.flock(records, fcntl.LOCK_UN)  # a forked child may have it, too
        os.close(records)


def _open(machines: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    while True:
        try:
            records = os.open(machines / RECORDS, flags, 0o600)
        except (
            FileNotFoundError
        ):  # the first machine; or the last one went just now, and all with it
            for folder in (paths.runtimes(), machines.parent, machines):
                paths.make_private(folder)
            continue
        fcntl.flock(records, fcntl.LOCK_EX)
        if os.fstat(records).st_nlink:
            return records
        os.close(records)


def _append(records: int, record: Record) -> None:
    """Write a line, by one call; whatever stands before it, an end of line comes first."""
    line = b"\n" + msgspec.json.encode(record)
    if os.write(records, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _remove_unused(machines: Path) -> None:
    """Remove the records, and the folder, where no machine is left."""
    with os.scandir(machines) as entries:  # not listed: of a thousand, the first one is enough
        if any(entry.name != RECORDS for entry in entries):
            return
    (machines / RECORDS).unlink()
    machines.rmdir()


def _records(file: Path) -> list[Record]:
    """The machines that are there, of those that this file tells of."""
    latest: dict[str, Record] = {}
    with suppress(OSError):
        for line in file.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                record = msgspec.json.decode(line, type=Record)
                latest[record.name] = record
    return [record for record in latest.values() if Path(record.state_dir).is_dir()]
