"""Files that are in memory: what a machine without a disk holds."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

DEEPEST = 40
"""Links that are followed one after the other, as Linux does."""

FILE, FOLDER = 0o644, 0o755
"""The modes of what nobody said a mode for."""


@dataclass(frozen=True, slots=True)
class File:
    """A file."""

    data: bytes
    mode: int = FILE


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; what is in it is found by its path."""

    mode: int = FOLDER


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    leads_to: str


Node = File | Folder | Link


class Files:
    """A tree of files, by absolute paths. Raises ``OSError`` as an operating system would."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {"/": Folder()}

    def __iter__(self) -> Iterator[str]:
        """The paths of all files."""
        return (path for path, node in self._nodes.items() if isinstance(node, File))

    def look(self, path: str) -> Node | None:
        """What is at a path, links on the way (but not at its end) followed; None: nothing."""
        return self._nodes.get(self._place(path))

    def follow(self, path: str) -> Node | None:
        """The same, where a link leads."""
        return self._nodes.get(self._real(path))

    def read(self, path: str) -> File:
        """A file.

        Raises:
            FileNotFoundError, IsADirectoryError: as their names say.
        """
        node = self.follow(path)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
        if not isinstance(node, File):
            raise _error(errno.ENOENT, path)
        return node

    def write(self, path: str, file: File) -> None:
        """Put a file at a path, and the folders it needs; a link there is replaced.

        Raises:
            IsADirectoryError, NotADirectoryError: as their names say.
        """
        if isinstance(self.follow(path), Folder):
            raise _error(errno.EISDIR, path)
        self._put(path, file)

    def make_folder(self, path: str, mode: int = FOLDER) -> None:
        """Make a folder and those above it; one that is there stays as it is.

        Raises:
            NotADirectoryError: something else is there.
        """
        real = self._real(path)
        node = self._nodes.get(real)
        if isinstance(node, Folder):
            return
        if node is not None:
            raise _error(errno.ENOTDIR, path)
        self.make_folder(posixpath.dirname(real))
        self._nodes[real] = Folder(mode)

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted."""
        folder = self._real(path)
        return sorted(posixpath.basename(p) for p in self._nodes if _parent(p) == folder)

    def remove(self, path: str) -> None:
        """Remove what is at a path, and all under it. Nothing happens where nothing is."""
        place = self._place(path)
        self._nodes = {p: n for p, n in self._nodes.items() if not _is_under(p, place)}

    # --- as archives

    def pack(self, path: str) -> bytes:
        """What is in a folder, as a tar archive."""
        root, data = self._real(path), io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for place, node in sorted(self._nodes.items()):
                if place != root and _is_under(place, root):
                    info, content = _entry(posixpath.relpath(place, root), node)
                    archive.addfile(info, io.BytesIO(content))
        return data.getvalue()

    def unpack(self, path: str, archive: bytes, mode: int) -> None:
        """Fill a folder from a tar archive; a new one gets ``mode``."""
        self.make_folder(path, mode)
        with tarfile.open(fileobj=io.BytesIO(archive)) as entries:
            for info in entries:
                place = posixpath.join(path, info.name)
                if info.isdir():
                    self.make_folder(place, info.mode & 0o777)
                elif info.issym():
                    self._put(place, Link(info.linkname))
                elif content := entries.extractfile(info):  # a hard link's is what it leads to
                    self.write(place, File(content.read(), info.mode & 0o777))

    # --- places

    def _put(self, path: str, node: Node) -> None:
        place = self._place(path)
        self.make_folder(posixpath.dirname(place))
        self._nodes[place] = node

    def _place(self, path: str) -> str:
        """Where a path is, links on the way followed."""
        head, name = posixpath.split(posixpath.normpath(path))
        return posixpath.join(self._real(head), name) if name else "/"

    def _real(self, path: str, deep: int = 0) -> str:
        """Where a path leads, all links followed."""
        place = "/"
        for part in posixpath.normpath(path).split("/"):
            place = posixpath.normpath(posixpath.join(place, part))
            node = self._nodes.get(place)
            if isinstance(node, Link):
                if deep == DEEPEST:
                    raise _error(errno.ELOOP, path)
                leads_to = posixpath.join(posixpath.dirname(place), node.leads_to)
                place = self._real(leads_to, deep + 1)
        return place


def _entry(name: str, node: Node) -> tuple[tarfile.TarInfo, bytes]:
    info, content = tarfile.TarInfo(name), b""
    match node:
        case File(data, mode):
            info.mode, info.size, content = mode, len(data), data
        case Folder(mode):
            info.type, info.mode = tarfile.DIRTYPE, mode
        case Link(leads_to):
            info.type, info.linkname = tarfile.SYMTYPE, leads_to
    return info, content


def _parent(path: str) -> str | None:
    return posixpath.dirname(path) if path != "/" else None


def _is_under(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
