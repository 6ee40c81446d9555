"""The contract of tool sets: what a harness's agents need on machines, and how it gets there.

A tool set is a folder that works wherever on a machine it is put: agents' programs, and what these
need to run. It is assembled once for each kind of machine, on the computer that the program runs
on; backends that can do so mount it, and to all other machines it is uploaded.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ramure import paths
from ramure._home import used_home
from ramure._work import to_end
from ramure.errors import ToolSetUnavailable

if TYPE_CHECKING:
    from ramure.machine import Machine

Progress = Callable[[str], None]
"""Is told what goes on, in words, where it takes a while."""

LOCK_WITHIN = 1800.0
"""Seconds that another program may take to make a tool set: some 200 MB over a slow line."""

POLL = 0.2
"""Seconds between two attempts to get the lock of what another program assembles."""

PROBE = """LC_ALL=C; export LC_ALL
uname -s && uname -m || exit 1
[ "$(uname -s)" = Linux ] || exit 0
if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then echo glibc; exit 0; fi
case "$(ldd --version 2>&1)" in *musl*) echo musl; exit 0;; esac
for loader in /lib*/ld-linux*.so.* /lib/*/ld-linux*.so.*; do
  if [ -e "$loader" ]; then echo glibc; exit 0; fi
done
for loader in /lib/ld-musl-*; do
  if [ -e "$loader" ]; then echo musl; exit 0; fi
done
echo glibc
"""
"""What says, run by ``sh``, of which platform a machine is; to be read by ``Platform.read``."""


def tell(text: str) -> None:
    """Tell the person, on stderr, what goes on."""
    sys.stderr.write(f"ramure: {text}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Platform:
    """What decides which programs run on a machine.

    Attributes:
        system: ``linux`` or ``darwin``: what ``uname -s`` says, in lower case.
        arch: what ``uname -m`` says: ``x86_64``, ``aarch64``, ``arm64``, …
        libc: ``glibc`` or ``musl``; "" where a system has one of its own.
    """

    system: str
    arch: str
    libc: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.system, self.arch, self.libc)))

    @classmethod
    def read(cls, said: str) -> Platform:
        """The platform that ``PROBE`` speaks of.

        Raises:
            ValueError: it makes no sense.
        """
        words = said.lower().split()
        if not 2 <= len(words) <= 3 or not all(re.fullmatch(r"[a-z0-9._]+", w) for w in words):
            raise ValueError(f"what a machine says of its platform makes no sense: {said!r}")
        return cls(*words)


class ToolSet(ABC):
    """What a harness's agents need on machines. A value: it can be shared and kept.

    Attributes:
        name: the set with its version, such as ``pi-0.87.1``: letters, digits, dots and dashes.
            Sets of the same name are the same.
        node: path of a Node.js in the folder; the relay runs on it.
    """

    name: str
    node: str = "bin/node"

    def key(self, platform: Platform) -> str:
        """What the folder for this kind of machine is called, here and there."""
        return f"{self.name}-{platform}"

    @abstractmethod
    async def look(self, machine: Machine) -> bool:
        """Whether all that is needed is on the machine already, without the set.

        Raises:
            MachineError: the machine could not be asked.
        """

    @abstractmethod
    async def assemble(self, platform: Platform, progress: Progress = tell) -> Path:
        """A folder on this computer with the set for machines of this kind, to be left unchanged.

        Made once (``made_once`` does that), then there at once.

        Raises:
            ToolSetUnavailable: there is none for such machines; the message names the cure.
        """


async def made_once(
    key: str, make: Callable[[Path], Awaitable[None]], progress: Progress = tell
) -> Path:
    """The folder ``key`` of this computer's tool sets, filled by ``make`` where it is not there.

    It is there whole or not at all. Of several programs that need it at once, one makes it; what
    one that died has left half made is removed.

    Args:
        key: the folder's name.
        make: fills the empty folder that it is given.
        progress: is told where somebody else's work has to be waited for.
    """
    target = paths.tools() / "sets" / key
    if target.is_dir():
        return target
    with used_home():
        paths.make_private(target.parent)
    async with locked(target.with_name(f".{key}.lock"), f"{key} is being made", progress):
        for stale in target.parent.glob(f".{key}.new-*"):
            await _remove(stale)
        if not target.is_dir():
            making = Path(tempfile.mkdtemp(prefix=f".{key}.new-", dir=target.parent))
            try:
                await make(making)
                await anyio.to_thread.run_sync(_put, making, target)
            finally:
                await to_end(partial(_remove, making), seconds=60)
    return target


def _put(made: Path, target: Path) -> None:
    # Whatever the umask is: users of containers that it is mounted into have to read it.
    for path in (made, *made.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
    made.rename(target)


async def _remove(folder: Path) -> None:
    await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


@asynccontextmanager
async def locked(path: Path, what: str, progress: Progress) -> AsyncIterator[None]:
    """Hold a lock that the kernel releases with its holder's end; waiting blocks no event loop.

    Args:
        path: the lock's file, made where it is not there.
        what: what is done under it, such as ``pi is being installed``, for those who wait.
        progress: is told where it has to be waited for.

    Raises:
        ToolSetUnavailable: another program holds it for too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        deadline = anyio.current_time() + LOCK_WITHIN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress(f"{what} by another program; waiting for it")
                    told = True
                if anyio.current_time() > deadline:
                    raise ToolSetUnavailable(
                        f"{what} by another program for longer than {LOCK_WITHIN:g} s: "
                        f"end whoever holds {path}"
                    ) from None
                await anyio.sleep(POLL)
        yield
    finally:
        os.close(descriptor)
