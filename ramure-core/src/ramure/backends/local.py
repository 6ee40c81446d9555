"""The local backend: this computer as a machine, without any isolation."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import ClassVar

from anyio.lowlevel import checkpoint_if_cancelled

from ramure._archive import Interruptible, copy_tree
from ramure._disk import fill_folder, replace_file
from ramure._exec import check_command
from ramure._files import absolute, not_copied, too_large
from ramure._work import in_thread, to_end
from ramure.backends import _records as records
from ramure.backends._marks import MARKS, marked, new_mark
from ramure.backends._process import Account, LocalProcess, Start, start
from ramure.errors import MachineError, MachineGone, PlacementError
from ramure.machine import MAX_OUTPUT, Backend, Command, Image, LocalPath, Machine
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef, PtySize

FILES = "files"
REMOVAL = 30.0
"""Seconds that the removal of a machine may take; killing is 5 of them at most."""


@dataclass(frozen=True, slots=True)
class LocalImage(Image):
    """A folder of this computer to work in.

    Attributes:
        workdir: where commands run; None for the program's own working directory.
        env: added to the program's environment. May hold secrets.
    """

    backend: ClassVar[str] = "local"

    workdir: str | Path | None = None
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


class LocalMachine(Machine):
    """This computer. Commands run as the program's user, in its environment and the image's."""

    here = True
    transports = ("direct",)

    def __init__(self, record: records.Record) -> None:
        self._record = record
        self._gone = False
        self.name = record.name
        self.ref = record.ref
        self.workdir = record.workdir
        self.state_dir = record.state_dir

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> LocalProcess:
        """See ``Machine.open_process``. Only root may name another ``user``."""
        check_command(command, env, cwd)
        await checkpoint_if_cancelled()
        self._check_there()
        words = [_shell(), "-c", command] if isinstance(command, str) else list(command)
        account, own = _account(user)
        mark = new_mark()
        everything = {**os.environ, **own, **self._record.env, **(env or {})}
        everything[MARKS] = marked(os.environ.get(MARKS, ""), self._record.mark, mark)
        if pty is not None:
            everything.setdefault("TERM", "xterm-256color")
        where = absolute(self, cwd) if cwd is not None else self.workdir
        return start(Start(words, where, everything, mark, account), pty)

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT) -> bytes:
        """See ``Machine.read_file``."""
        self._check_there()
        return await in_thread(partial(_read, absolute(self, path), max_bytes), pool=FILES)

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """See ``Machine.write_file``."""
        self._check_there()
        content = BytesIO(data.encode() if isinstance(data, str) else data)
        target = Path(absolute(self, path))
        await in_thread(partial(replace_file, target, content, mode), pool=FILES)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        self._check_there()
        target = Path(absolute(self, remote))
        await in_thread(partial(_copy, Path(local), target, trusted=True), pool=FILES)

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        self._check_there()
        source = Path(absolute(self, remote))
        await in_thread(partial(_copy, source, Path(local), trusted=False), pool=FILES)

    async def destroy(self) -> None:
        """Kill what still runs here, and remove the state folder. The work stays."""
        self._gone = True
        await _remove(self.ref)

    def _check_there(self) -> None:
        if self._gone:
            raise MachineGone("it has been destroyed", machine=self.name)


class LocalBackend(Backend):
    """Makes machines of this computer."""

    name = "local"
    image_type = LocalImage
    here = True

    def read_image(self, text: str | None) -> LocalImage:
        """A folder that exists; relative to the working directory, ``~`` is the home."""
        if text is None:
            return LocalImage()
        folder = Path(text).expanduser().absolute()
        if not folder.is_dir():
            raise PlacementError(
                f"image={text!r}: for the local backend an image is a folder to work in, and there "
                f"is no folder {folder}"
            )
        return LocalImage(folder)

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> LocalMachine:
        """See ``Backend.provision``. ``labels`` hold the run's id as ``ramure.run``."""
        self.check_host(host)
        if not isinstance(image, LocalImage):
            raise PlacementError(
                f"the local backend makes machines of LocalImage, not of {image!r}"
            )
        record = records.plan(name, labels, Path(image.workdir or "."), image.env)
        # On the loop: it takes no longer than to hand it to a thread, and is of one kind with what
        # the run writes to its ledger and logs, in the same home.
        records.create(record)
        return LocalMachine(record)

    async def attach(self, ref: MachineRef) -> LocalMachine:
        """See ``Backend.attach``."""
        record = await in_thread(partial(records.read, ref), pool=FILES)
        return LocalMachine(record)

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``. Machines whose program is long dead are found, too."""
        found = await in_thread(lambda: list(records.find(labels)), pool=FILES)
        return [record.ref for record in found]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``: kills what the machine's commands left, wherever they went."""
        await _remove(ref)


async def _remove(ref: MachineRef) -> None:
    """Remove a machine to the end; raises ``MachineError`` where that fails or takes too long."""
    removal = partial(in_thread, partial(records.remove, ref), pool="kill")
    if not await to_end(removal, REMOVAL):
        raise MachineError(f"it could not be removed within {REMOVAL:g} s", machine=ref.name)


@cache
def _shell() -> str:
    return shutil.which("bash") or "sh"


def _account(user: str | None) -> tuple[Account | None, dict[str, str]]:
    """Whom to run as, and what their environment says of them; None for the program's own user."""
    if user is None:
        return None, {}
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise PermissionError(errno.EPERM, f"this computer has no user {user!r}") from None
    if entry.pw_uid == os.getuid():
        return None, {}
    if os.getuid() != 0:
        raise PermissionError(errno.EPERM, f"only root may run commands as {user!r}")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    own = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return Account(entry.pw_uid, entry.pw_gid, groups), own


def _read(path: str, max_bytes: int) -> bytes:
    # O_NONBLOCK: a named pipe would hold the thread until somebody writes.
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    with open(path, "rb", opener=opener) as file:
        data = file.read(max_bytes + 1) or b""
    if len(data) > max_bytes:
        raise too_large(path, max_bytes)
    return data


def _copy(source: Path, target: Path, *, trusted: bool) -> None:
    status = source.stat()
    if stat.S_ISREG(status.st_mode):
        with source.open("rb") as file:
            replace_file(target, Interruptible(file), status.st_mode & 0o777)
    elif not stat.S_ISDIR(status.st_mode):
        raise not_copied(str(source))
    elif target.resolve().is_relative_to(source.resolve()):
        raise OSError(errno.EINVAL, "a folder cannot be copied into itself", str(target))
    else:
        fill_folder(target, status.st_mode & 0o777, partial(copy_tree, source, trusted=trusted))
