"""Folders by SFTP, for hosts that have no ``tar``: slower, as each file is asked for by itself.

What a host says is not trusted: what it sends is unpacked like an archive.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
from anyio import from_thread
from asyncssh import SFTPAttrs, SFTPClient, SFTPClientFile

from ramure._archive import Unpacker, walk
from ramure._disk import CHUNK, fill_folder
from ramure._files import absolute
from ramure._work import in_thread
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.machine import LocalPath
from ramure_ssh.connection import LOST

if TYPE_CHECKING:
    from ramure_ssh.machine import SSHMachine

T = TypeVar("T")

POOL = "transfers"

_KINDS = {
    asyncssh.SFTPNoSuchFile: errno.ENOENT,
    asyncssh.SFTPPermissionDenied: errno.EACCES,
}


Copying = Callable[[], Awaitable[None]]

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
}


async def unless_tar(machine: SSHMachine, common: Copying, by_sftp: Copying) -> None:
    """Copy by the common way; where that fails because there is no ``tar``, by SFTP.

    Raises:
        OSError, MachineError: as ``Machine.upload`` and ``Machine.download``.
    """
    try:
        await common()
    except (LinkBroken, MachineGone):
        raise
    except MachineError:
        if (await machine.exec("command -v tar", cwd="/")).ok:
            raise
        await by_sftp()


async def upload(machine: SSHMachine, local: LocalPath, remote: str) -> None:
    """``Machine.upload`` of a folder."""
    path = absolute(machine, remote)
    await _by_sftp(machine, path, partial(_send, Path(local), path))


async def download(machine: SSHMachine, remote: str, local: LocalPath) -> None:
    """``Machine.download`` of a folder."""
    path = absolute(machine, remote)
    await _by_sftp(machine, path, partial(_fetch, path, Path(local)))


async def _by_sftp(machine: SSHMachine, path: str, work: Callable[[SFTPClient], None]) -> None:
    connection = machine.connection
    try:
        async with connection.sftp() as client:
            await in_thread(partial(work, client), pool=POOL)
    except (*LOST, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
        where = f"the connection to {connection.where}"
        raise LinkBroken(f"{where} broke while {path} was copied", machine=machine.name) from error
    except asyncssh.SFTPError as error:
        if number := _KINDS.get(type(error)):
            raise OSError(number, os.strerror(number), path) from error
        raise MachineError(f"{path}: {error.reason}", machine=machine.name) from error
    except asyncssh.ChannelOpenError as error:
        text = f"{path}: the host has neither tar nor SFTP for folders: {error}"
        raise MachineError(text, machine=machine.name) from error


# --- in a worker thread


def _run(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    from_thread.check_cancelled()
    return from_thread.run(work, *arguments)


def _send(source: Path, target: str, client: SFTPClient) -> None:
    new = not _run(client.isdir, target)
    _run(client.makedirs, target, SFTPAttrs(), True)
    folders = [(target, source.stat())] if new else []
    for name, path in walk(source):
        status, there = path.lstat(), posixpath.join(target, name)
        if stat.S_ISDIR(status.st_mode):
            _make_folder(client, there)
            folders.append((there, status))
        elif stat.S_ISLNK(status.st_mode):
            _remove(client, there)
            _run(client.symlink, str(path.readlink()), there)
        elif stat.S_ISREG(status.st_mode):
            _remove(client, there)
            _send_file(client, path, there)
            _set(client, there, status)
    for there, status in reversed(folders):  # a read-only one has to be filled first
        _set(client, there, status)


def _make_folder(client: SFTPClient, path: str) -> None:
    if _run(client.isdir, path) and not _run(client.islink, path):
        return
    _remove(client, path)
    _run(client.mkdir, path)


def _remove(client: SFTPClient, path: str) -> None:
    with suppress(asyncssh.SFTPNoSuchFile):
        _run(client.remove, path)


def _send_file(client: SFTPClient, source: Path, target: str) -> None:
    file = _run(_open, client, target, "wb")
    try:
        with source.open("rb") as content:
            while chunk := content.read(CHUNK):
                _run(file.write, chunk)
    finally:
        from_thread.run(file.close)


def _set(client: SFTPClient, path: str, status: os.stat_result) -> None:
    attributes = SFTPAttrs(
        permissions=status.st_mode & 0o777,
        atime=int(status.st_mtime),
        mtime=int(status.st_mtime),
    )
    _run(client.setstat, path, attributes)


async def _open(client: SFTPClient, path: str, mode: str) -> SFTPClientFile:
    return await client.open(path, mode)


async def _read(file: SFTPClientFile, size: int) -> bytes:
    data: bytes = await file.read(size)
    return data


def _fetch(source: str, target: Path, client: SFTPClient) -> None:
    mode = (_run(client.stat, source).permissions or 0o755) & 0o777
    fill_folder(target, mode, partial(_fill, client, source))


def _fill(client: SFTPClient, source: str, target: Path) -> None:
    tree = Unpacker(target)
    folders = [""]
    while folders:
        prefix = folders.pop()
        for entry in _run(client.readdir, posixpath.join(source, prefix)):
            if entry.filename in {".", ".."}:
                continue
            name = posixpath.join(prefix, str(entry.filename))
            _fetch_entry(client, posixpath.join(source, name), name, tree)
            if stat.S_ISDIR(entry.attrs.permissions or 0):
                folders.append(name)
    tree.finish()


def _fetch_entry(client: SFTPClient, path: str, name: str, tree: Unpacker) -> None:
    attributes = _run(client.lstat, path)
    permissions = attributes.permissions or 0
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = permissions & 0o777, attributes.mtime or 0
    info.type = _TYPES.get(stat.S_IFMT(permissions), tarfile.FIFOTYPE)  # which is refused
    if info.issym():
        info.linkname = str(_run(client.readlink, path))
    if not info.isreg():
        tree.add(info, None)
        return
    file = _run(_open, client, path, "rb")
    try:
        tree.add(info, _Content(file))
    finally:
        from_thread.run(file.close)


class _Content:
    """A file there, as a worker thread reads it."""

    def __init__(self, file: SFTPClientFile) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        """See ``Reader``."""
        return _run(_read, self._file, size if size > 0 else CHUNK)
