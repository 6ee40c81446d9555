"""Cleaning up after runs that died: by their keepers, by the next run, by ``ramure gc``.

Whether a run lives is told by the lock on its folder, which the kernel releases with its process.
A run whose lock somebody holds is never touched; an error in asking never counts as death.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from ramure import paths
from ramure.errors import RamureError
from ramure.plugins import Plugins
from ramure.run import forks, host, ledger, short_folder
from ramure.run.removals import Removals

log = logging.getLogger("ramure")

LOCK = "lock"


class StillAlive(RamureError):
    """The run lives; it is not touched."""


@contextmanager
def new_lock(folder: Path) -> Iterator[None]:
    """Make and hold the lock of a new run's folder.

    It gets its name when it is held: nobody may find it free and take the run for dead.
    """
    unnamed = folder / f".{LOCK}"
    file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    forks.withhold(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(folder / LOCK)
        yield
    finally:
        forks.close(file)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder.

    Raises:
        StillAlive: somebody holds it.
        FileNotFoundError: there is no such run.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StillAlive(f"the run {folder.name} lives") from None
        yield
    finally:
        os.close(file)


def is_alive(folder: Path) -> bool:
    """Whether the run of this folder lives. False where there is no such folder."""
    try:
        with lock(folder):
            return False
    except StillAlive:
        return True
    except FileNotFoundError:
        return False


def dead_runs() -> list[Path]:
    """The folders of runs of this computer that died and left something."""
    return [folder for folder in _unheld() if not elsewhere(folder)]


def runs_elsewhere() -> dict[str, str]:
    """The runs of other computers that this home holds, live or not, each with its host's name."""
    return {folder.name: name for folder in _unheld() if (name := elsewhere(folder))}


def elsewhere(folder: Path) -> str:
    """The name of the other computer whose run this is; "" for one of this computer."""
    run = ledger.read(folder).run
    return "" if host.is_here(run) else str(run.get("host") or "?")


def _unheld() -> list[Path]:
    try:
        folders = [f for f in paths.runtimes().iterdir() if (f / LOCK).exists()]
    except FileNotFoundError:
        return []
    return sorted(f for f in folders if not is_alive(f))


async def sweep_all(folders: Iterable[Path], plugins: Plugins) -> dict[str, list[str]]:
    """Sweep dead runs side by side; give the machines that were removed, by run.

    Runs that live after all, or that somebody else has swept meanwhile, are left out.
    """
    removals, swept = Removals(plugins), dict[str, list[str]]()

    async def one(folder: Path) -> None:
        try:
            with suppress(StillAlive, FileNotFoundError):
                swept[folder.name] = await _sweep(folder, removals)
        except Exception as error:  # noqa: BLE001 one that cannot be swept keeps no other
            log.warning("cannot clean up after the run %s now: %r", folder.name, error)

    async with anyio.create_task_group() as tasks:
        for folder in folders:
            tasks.start_soon(one, folder)
    return swept


async def sweep(folder: Path, plugins: Plugins) -> list[str]:
    """Remove all that a dead run left; give the names of the machines that were removed.

    What cannot be removed now (an engine that does not answer) stays in the ledger for the next.

    Raises:
        StillAlive: the run lives.
        FileNotFoundError: there is no such run.
    """
    return await _sweep(folder, Removals(plugins))


async def _sweep(folder: Path, removals: Removals) -> list[str]:
    with lock(folder):
        if name := elsewhere(folder):
            # A lock may not reach across a shared home; that host's own runs clean up there.
            raise StillAlive(f"the run {folder.name} is one of the host {name}")
        removed, complete = await removals.of(folder)
        if complete:
            remove_files(folder)
        return removed


async def remove_machines(folder: Path, plugins: Plugins) -> tuple[list[str], bool]:
    """Remove what the ledger says may be there; whoever calls holds the lock.

    Gives the names of what was removed, and whether nothing is left.
    """
    return await Removals(plugins).of(folder)


def remove_files(folder: Path) -> None:
    """Remove a run's folder and sockets. Its logs stay."""
    paths.remove_sockets([folder.with_name(f"{folder.name}.sock"), *folder.glob("*.sock")])
    short_folder.leave()
    shutil.rmtree(folder, ignore_errors=True)


async def sweep_when_dead(folder: Path, *, patience: float = 600.0) -> None:
    """Clean up after a run as soon as its lock is free: its last moments may take some.

    A child that the program forked holds the lock too; ``patience`` bounds the wait for it.
    """
    with anyio.move_on_after(patience):
        while True:
            try:
                await sweep(folder, Plugins.load())
            except StillAlive:
                await anyio.sleep(0.1)
            except FileNotFoundError:
                return
            else:
                return


def main() -> None:
    """Clean up after one run; what a keeper turns into."""
    asyncio.run(sweep_when_dead(paths.runtimes() / sys.argv[1]))


if __name__ == "__main__":
    main()
