"""Where ramure keeps its things: ``~/.ramure``, or ``$RAMURE_HOME``.

runtimes/{id}.sock      the control socket of a live run (perhaps a link, see ``socket_path``)
runtimes/{id}/          owner-only: the run's agents' socket, state folders, ledger
logs/{id}/              _runtime.jsonl and {agent}.jsonl
tools/                  tool sets: pi, Node.js
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

MAX_SOCKET_PATH = 100
"""Bytes; Linux takes 107 for a unix socket, macOS 103."""


def home() -> Path:
    """The root of it all: ``$RAMURE_HOME`` or ``~/.ramure``. Not made here."""
    return Path(os.environ.get("RAMURE_HOME") or Path.home() / ".ramure").absolute()


def runtimes() -> Path:
    """Folder of the control sockets and state of live runs."""
    return home() / "runtimes"


def logs() -> Path:
    """Folder of the log folders of all runs."""
    return home() / "logs"


def tools() -> Path:
    """Folder of the tool sets that harnesses need."""
    return home() / "tools"


def make_private(folder: Path) -> Path:
    """Make ``folder`` and those above it, owner-only, and give it back.

    Raises:
        PermissionError: it belongs to somebody else, or others can write to it.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        return make_private(folder)
    except FileExistsError:
        pass
    else:
        return folder
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def short_folder_path() -> Path:
    """Where the folder with a short path is, for sockets that the home is too long for."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and len(base) < 40 and Path(base).is_dir() and os.access(base, os.W_OK):
        return Path(base) / "ramure"
    temporary = tempfile.gettempdir()
    short = temporary if len(temporary) <= MAX_SOCKET_PATH // 2 else "/tmp"  # noqa: S108 checked
    return Path(short) / f"ramure-{os.getuid()}"


def short_folder() -> Path:
    """The same, made owner-only where it is missing; runs keep it (``ramure.run.short_folder``)."""
    return make_private(short_folder_path())


def socket_path(wanted: Path) -> Path:
    """Where to bind a unix socket that people look for at ``wanted``.

    ``wanted`` itself where it is short enough; else a name in ``short_folder``, derived from
    it, to which the caller makes ``wanted`` a link.
    """
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH:
        return wanted
    digest = hashlib.blake2s(os.fsencode(wanted), digest_size=8).hexdigest()
    return short_folder() / f"{digest}.sock"


def linked_socket_path(wanted: Path) -> Path:
    """As ``socket_path``; ``wanted`` is made the link, so that ``remove_sockets`` finds both."""
    actual = socket_path(wanted)
    if actual != wanted:
        wanted.unlink(missing_ok=True)
        wanted.symlink_to(actual)
    return actual


def remove_sockets(paths: Iterable[Path]) -> None:
    """Remove sockets, and those that links lead to. Whoever is not there is left out."""
    for path in paths:
        if path.is_symlink() and (actual := path.readlink()).is_socket():
            actual.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
