"""Files of this computer, written whole or not at all. Blocking: for worker threads."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 18
"""Bytes that are moved at a time."""


class Reader(Protocol):
    """What content is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def write_new(path: Path, content: Reader, mode: int | None) -> int:
    """Write a file that is not there yet; mode None: by the umask. Gives the bytes written."""
    initial = 0o666 if mode is None else 0o600
    size = 0
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, initial)) as file:
        while chunk := content.read(CHUNK):
            size += file.write(chunk)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
    return size


def replace_file(path: Path, content: Reader, mode: int | None, size: int | None = None) -> None:
    """Put content into a file, whole or not at all; a link at ``path`` is replaced.

    Raises:
        IsADirectoryError: ``path`` is a folder, or a link to one.
        EOFError: there was less than ``size``.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".ramure-{secrets.token_hex(8)}")
    try:
        written = write_new(temporary, content, mode)
        if size is not None and written != size:
            raise EOFError(f"{path}: {written} bytes of {size} came")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fill_folder(path: Path, mode: int, fill: Callable[[Path], None]) -> None:
    """Have a folder filled. A new one gets ``mode``, and is removed again where filling fails.

    Raises:
        NotADirectoryError: ``path`` is a file.
    """
    new = not path.is_dir()
    if new and (path.exists() or path.is_symlink()):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    path.mkdir(parents=True, exist_ok=True)
    try:
        fill(path)
    except BaseException:  # cancellation arrives in threads, too
        if new:
            remove_tree(path)
        raise
    if new:
        path.chmod(mode)


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, read-only folders too. Nothing happens where there is none.

    Raises:
        OSError: something could not be removed.
    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if path.exists():  # somebody else removed something of it meanwhile
            shutil.rmtree(path)
    except PermissionError:
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path)
