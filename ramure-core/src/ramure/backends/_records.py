"""What local machines have on disk: ``runtimes/{run}/machines/{name}/``, ``{name}.json`` beside it.

The record is there before the machine is used and is removed last, so that whatever happens in
between, somebody finds the machine and can finish. Blocking: for worker threads, but ``create``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec

from ramure import paths
from ramure._disk import remove_tree, write_new
from ramure.backends._marks import new_mark
from ramure.errors import InvalidName, MachineError, MachineGone, MachineStartFailed, UsageError
from ramure.values import MachineRef

RUN = "ramure.run"
FOLDER = "machines"


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
    """Write the record, then make the state folder; both owner-only.

    Where this is cut short, what there is of a record cannot be read, and no machine was used yet.

    Raises:
        MachineStartFailed: there is no such working directory, or there is such a machine already.
    """
    if not Path(record.workdir).is_dir():
        raise MachineStartFailed(f"there is no folder {record.workdir}", machine=record.name)
    folder = Path(record.state_dir)
    for parent in (paths.runtimes(), folder.parent.parent, folder.parent):
        paths.make_private(parent)
    file = _file(folder)
    try:
        write_new(file, BytesIO(msgspec.json.encode(record)), 0o600)
    except FileExistsError:
        raise MachineStartFailed("there is one of this name", machine=record.name) from None
    except OSError:
        file.unlink(missing_ok=True)
        raise
    paths.make_private(folder)


def read(ref: MachineRef) -> Record:
    """The machine of a reference.

    Raises:
        MachineGone: it is not there any more.
    """
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(_file(_folder(ref)).read_bytes(), type=Record)
    raise MachineGone("it is not there any more", machine=ref.name)


def find(labels: Mapping[str, str]) -> Iterator[Record]:
    """All machines that carry these labels; what cannot be read is left out."""
    for file in paths.runtimes().glob(f"*/{FOLDER}/*.json"):
        with suppress(OSError, msgspec.DecodeError):
            record = msgspec.json.decode(file.read_bytes(), type=Record)
            if labels.items() <= record.labels.items():
                yield record


def remove(ref: MachineRef) -> None:
    """Kill all that the machine runs and remove what is on disk. Idempotent.

    Raises:
        MachineError: something could not be killed; the record stays, so that it is found again.
    """
    from ramure.backends._tree import kill_tree

    folder = _folder(ref)
    killed = kill_tree(str(ref.data["mark"]))
    remove_tree(folder)
    if not killed:
        raise MachineError("some of its processes could not be killed", machine=ref.name)
    _file(folder).unlink(missing_ok=True)
    with suppress(OSError):  # others are still there
        folder.parent.rmdir()


def _folder(ref: MachineRef) -> Path:
    """The state folder, if it looks like one: what is removed must not be anything else."""
    folder = Path(str(ref.data["state_dir"]))
    if folder.name != ref.name or folder.parent.name != FOLDER or not folder.is_absolute():
        raise UsageError(f"{ref} is no reference to a local machine")
    return folder


def _file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
