"""The folder for sockets whose own paths are too long: there while a run needs it.

Many runs, of several programs, share it (``paths.short_folder``). Each holds a shared lock of it
for as long as it may have sockets there; the last one finds that it can have the lock for itself
and removes the folder. Whoever comes at that moment sees that what it has locked is gone, and makes
it anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ramure import paths
from ramure.run import forks

LONGEST_BELOW = 60
"""Bytes that a socket's path may be longer than that of its run's folder (tmux's, of a machine)."""


MOST_TRIES = 1000
"""So often somebody may remove the folder just when it is to be kept; then it is no coincidence."""


@contextmanager
def kept_for(folder: Path) -> Iterator[None]:
    """Keep the short folder while a run may need it; ``folder`` is the run's."""
    file = _hold() if len(os.fsencode(folder)) + LONGEST_BELOW > paths.MAX_SOCKET_PATH else None
    try:
        yield
    finally:
        if file is not None:
            forks.close(file)
            leave()


def leave() -> None:
    """Remove the short folder where it is empty and nobody keeps it."""
    folder = paths.short_folder_path()
    with suppress(OSError), _opened(folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(file, folder):  # else somebody has removed it, and somebody else made it anew
            folder.rmdir()


def _hold() -> int | None:
    """A descriptor that keeps the folder; None where the folder cannot be used.

    Whether that matters will be seen when a socket is to be made there.
    """
    for _ in range(MOST_TRIES):
        try:
            file = _open(paths.short_folder())
        except FileNotFoundError:
            continue  # it was removed at this very moment
        except OSError:
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if _is(file, paths.short_folder_path()):
                forks.withhold(file)
                return file
        os.close(file)
    return None


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = _open(folder)
    try:
        yield file
    finally:
        os.close(file)


def _is(file: int, folder: Path) -> bool:
    return os.path.samestat(os.fstat(file), folder.stat())


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
