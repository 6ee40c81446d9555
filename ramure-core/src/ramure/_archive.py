"""Folders between this computer and a machine: packing, and unpacking what may be hostile.

A tree travels as a tar archive. What is unpacked here was made by a machine that an agent may have
turned against us, so nothing of it is trusted: names, links and kinds are checked by this module
itself, the same on every Python.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

from anyio import from_thread

from ramure._disk import CHUNK, Reader, write_new
from ramure.errors import UnsafePath


class Writer(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything under ``root`` (not itself) as (name with slashes, path); folders come first."""
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = posixpath.join(prefix, entry.name)
            yield name, Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append((name, Path(entry.path)))


def pack(root: Path, target: Writer) -> None:
    """Write the tree under ``root`` as a tar archive.

    Files, folders and links travel, with their permissions; sockets, pipes and devices do not.
    GNU format, because busybox forgets the long names of others.
    """
    with tarfile.open(
        fileobj=cast("Any", target),  # only write() is needed
        mode="w|",
        bufsize=CHUNK,
        format=tarfile.GNU_FORMAT,
    ) as archive:
        for name, path in walk(root):
            info = archive.gettarinfo(path, arcname=name)
            if info is None or not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
                continue
            info.uid = info.gid = 0  # where root unpacks, it owns; others own anyway
            info.uname = info.gname = ""
            if info.isreg():
                with path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
            _forget(archive)


def unpack(source: Reader, target: Path) -> None:
    """Unpack a hostile tar archive into the existing folder ``target``, and read it to its end.

    Raises:
        UnsafePath: a name, a link or a kind that does not belong there. Nothing outside ``target``
            has been touched; what came before is in it.
    """
    folder = Unpacker(target)
    with tarfile.open(
        fileobj=cast("Any", source),  # only read() is needed
        mode="r|",
        bufsize=CHUNK,
    ) as archive:
        for info in archive:
            folder.add(info, archive.extractfile(info) if info.isreg() else None)
            _forget(archive)
    folder.finish()
    while source.read(CHUNK):  # tar pads its output, and would mind if nobody read that
        pass


def _forget(archive: Any) -> None:
    archive.members.clear()  # it would remember all entries of a tree of any size


def copy_tree(root: Path, target: Path, *, trusted: bool) -> None:
    """Copy the tree under ``root`` as if it had travelled; ``trusted``: links may lead out."""
    folder = Unpacker(target, links_may_leave=trusted)
    with tarfile.open(fileobj=cast("Any", _Nothing()), mode="w|") as archive:
        for name, path in walk(root):
            from_thread.check_cancelled()
            info = archive.gettarinfo(path, arcname=name)
            if info is None or (trusted and info.isdev()):  # isdev(): pipes too
                continue
            if info.isreg():
                with path.open("rb") as content:
                    folder.add(info, Interruptible(content))
            else:
                folder.add(info, None)
    folder.finish()


class Interruptible:
    """A file that is read in a worker thread only as long as that is not cancelled."""

    def __init__(self, file: Reader) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        """See ``Reader``."""
        from_thread.check_cancelled()
        return self._file.read(size)


class _Nothing:
    def write(self, data: bytes) -> None:
        """Forget it."""


class Unpacker:
    """Puts the entries of a tree into a folder and into nothing else.

    Links are made last, so that nothing is ever written through one of the tree's own; links that
    were there before are never followed either.
    """

    def __init__(self, root: Path, *, links_may_leave: bool = False) -> None:
        self._root = root
        self._links_may_leave = links_may_leave
        self._folders: set[str] = {""}  # seen to be real folders
        self._modes: dict[Path, int] = {}
        self._links: dict[Path, str] = {}

    def add(self, info: tarfile.TarInfo, content: Reader | None) -> None:
        """Make one entry.

        Raises:
            UnsafePath: it would be outside, or is neither file, folder nor link.
            IsADirectoryError: a file or link where a folder is already.
        """
        name = _checked(info.name)
        if not name:
            return  # the folder itself
        if info.isdir():
            path = self._folder(name)
            path.chmod(stat.S_IRWXU)  # until the end, so that a read-only one can be filled
            self._modes[path] = info.mode & 0o777
            return
        path = self._free(name)
        if info.issym():
            self._links[path] = info.linkname
        elif info.islnk():
            os.link(self._existing(_checked(info.linkname)), path, follow_symlinks=False)
        elif info.isreg() and content is not None:
            write_new(path, content, info.mode & 0o777)
            with suppress(OverflowError):  # a date that only an enemy would write
                os.utime(path, (info.mtime, info.mtime))
        else:
            raise UnsafePath(f"{info.name!r} is neither a file, a folder nor a link")

    def finish(self) -> None:
        """Make the links and set the folders' modes.

        Raises:
            UnsafePath: a link leads out of the folder; none has been made.
        """
        links = self._links
        self._links = {}  # from now on they are there to be found
        for path, leads_to in links.items():
            self._free(path.relative_to(self._root).as_posix()).symlink_to(leads_to)
        if not self._links_may_leave:
            _refuse_escapes(self._root, list(links))
        for path in reversed(self._modes):
            path.chmod(self._modes[path])

    def _folder(self, name: str) -> Path:
        path = self._root / name
        if name in self._folders:
            return path
        self._folder(posixpath.dirname(name))
        if path in self._links or path.is_symlink():
            raise UnsafePath(f"{name!r} is a link, and would be written through")
        path.mkdir(exist_ok=True)
        self._folders.add(name)
        return path

    def _free(self, name: str) -> Path:
        path = self._folder(posixpath.dirname(name)) / posixpath.basename(name)
        self._links.pop(path, None)
        path.unlink(missing_ok=True)  # IsADirectoryError, or PermissionError on macOS: a folder
        return path

    def _existing(self, name: str) -> Path:
        path = self._folder(posixpath.dirname(name)) / posixpath.basename(name)
        if path.is_symlink() or not path.is_file():
            raise UnsafePath(f"a hard link to {name!r}, which is no file of this folder")
        return path


def _checked(name: str) -> str:
    """The name relative to its folder, without "." parts; "" for the folder itself."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise UnsafePath(f"{name!r} leaves its folder")
    return "/".join(parts)


def _refuse_escapes(root: Path, links: list[Path]) -> None:
    # Only when all links are there is it known where each of them leads.
    real = root.resolve()
    for link in links:
        if not Path(os.path.realpath(link)).is_relative_to(real):
            leads_to = link.readlink()
            for made in links:
                made.unlink(missing_ok=True)
            raise UnsafePath(f"the link {link.name!r} leads out of its folder, to {leads_to}")
