"""What is wrong with a folder that a run needs, told so that a person can mend it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ramure import paths
from ramure.errors import HomeUnusable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WHY = {
    errno.EACCES: "you may not use it",
    errno.EPERM: "you may not use it",
    errno.EROFS: "its disk is read-only",
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "your share of its disk is full",
    errno.ENOTDIR: "it is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
    errno.ELOOP: "it is a link to itself",
}


@contextmanager
def used_home() -> Iterator[None]:
    """For a block that works in the home and nowhere else.

    Raises:
        HomeUnusable: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise unusable_home(error) from error


@contextmanager
def used_log_dir(folder: Path) -> Iterator[None]:
    """For a block that makes the log folder that a program asked for.

    Raises:
        HomeUnusable: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        where = _place(error, folder)
        raise HomeUnusable(
            f"the folder of log_dir={os.fspath(folder)!r} cannot be used: {where}{_why(error)}"
        ) from error


def unusable_home(error: OSError) -> HomeUnusable:
    """What an error in working with the home means, and what to do."""
    home = paths.home()
    why = f"{_place(error, home)}{_why(error)}"
    if home.is_symlink() and not home.exists():
        why = f"it is a link to {os.fspath(home.readlink())}, which is not there"
    named = "" if os.environ.get("RAMURE_HOME") else " (RAMURE_HOME is not set)"
    cure = "make it a folder that you can write to"
    if error.errno in _FULL:
        cure = "make room there"
    return HomeUnusable(
        f"ramure's folder {home}{named} cannot be used: {why}. "
        f"Either {cure}, or set RAMURE_HOME to another folder; `ramure doctor` checks it."
    )


def concerns_home(error: OSError) -> bool:
    """Whether an error is about a file in the home, or the home itself."""
    home = paths.home()
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(Path(os.fsdecode(name)).is_relative_to(home) for name in names)


def _place(error: OSError, folder: Path) -> str:
    """What the error is about, where that is not just the folder."""
    if not isinstance(error.filename, str | bytes):
        return ""
    place = Path(os.fsdecode(error.filename))
    if error.errno in (errno.ENOTDIR, errno.EEXIST):  # it is one of those above that is no folder
        place = next((p for p in reversed([place, *place.parents]) if p.is_file()), place)
    return "" if place == folder else f"{place}: "


def _why(error: OSError) -> str:
    return _WHY.get(error.errno or 0) or error.strerror or str(error)
