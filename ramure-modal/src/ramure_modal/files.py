"""Single files by the SDK's own calls, which stream, and go on by themselves after an outage.

Folders, and what is small, go the common way: over a command's input and output.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ramure._files import absolute
from ramure._work import in_thread, to_end
from ramure.errors import MachineError
from ramure.machine import LocalPath
from ramure_modal.scripts import script
from ramure_modal.sdk import call

if TYPE_CHECKING:
    from ramure_modal.sandbox import SandboxMachine

POOL = "transfers"

_KINDS = {
    "SandboxFilesystemNotFoundError": errno.ENOENT,
    "SandboxFilesystemIsADirectoryError": errno.EISDIR,
    "SandboxFilesystemNotADirectoryError": errno.ENOTDIR,
    "SandboxFilesystemPermissionError": errno.EACCES,
    "SandboxFilesystemFileTooLargeError": errno.EFBIG,
}


async def upload(machine: SandboxMachine, local: LocalPath, remote: str) -> bool:
    """Copy a file to the sandbox, whole or not at all; False where it is no file.

    Raises:
        OSError, MachineError: as ``Machine.upload``.
    """
    source, path = Path(local), absolute(machine, remote)
    status = await in_thread(source.stat, pool=POOL)
    if not stat.S_ISREG(status.st_mode):
        return False
    temporary = f"{path.rpartition('/')[0]}/.ramure-{secrets.token_hex(8)}"
    try:
        await _say(machine, path, "begin", temporary)
        async with _told(machine, path):
            await call(machine.sandbox.filesystem.copy_from_local.aio, source, temporary)
        await _say(machine, path, "finish", temporary, f"{status.st_mode & 0o777:o}")
    except BaseException:
        await to_end(partial(_forget, machine, path, temporary))
        raise
    return True


async def download(machine: SandboxMachine, remote: str, local: LocalPath) -> bool:
    """Copy a file from the sandbox, whole or not at all; False where it is no file.

    Raises:
        OSError, MachineError: as ``Machine.download``.
    """
    path, target = absolute(machine, remote), Path(local)
    kind, _, mode = (await _say(machine, path, "look")).partition(" ")
    if kind != "file":
        return False
    if await in_thread(target.is_dir, pool=POOL):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    await in_thread(partial(target.parent.mkdir, parents=True, exist_ok=True), pool=POOL)
    temporary = target.with_name(f".ramure-{secrets.token_hex(8)}")
    try:
        async with _told(machine, path):
            await call(machine.sandbox.filesystem.copy_to_local.aio, path, temporary)
        await in_thread(partial(_put, temporary, target, int(mode, 8)), pool=POOL)
    finally:
        await to_end(lambda: in_thread(partial(temporary.unlink, missing_ok=True), pool="cleanup"))
    return True


def _put(temporary: Path, target: Path, mode: int) -> None:
    temporary.chmod(mode)
    temporary.replace(target)


async def _forget(machine: SandboxMachine, path: str, temporary: str) -> None:
    with suppress(OSError, MachineError):  # the first failure is the one worth telling
        await _say(machine, path, "forget", temporary)


async def _say(machine: SandboxMachine, path: str, *what: str) -> str:
    """Run a step of ``file.sh``; it says ``! ERRNO`` where it fails."""
    said = (await machine.run(*script("file", path, *what))).strip()
    if said.startswith("! "):
        number = getattr(errno, said.removeprefix("! "), errno.EIO)
        raise OSError(number, os.strerror(number), path)
    return said


@asynccontextmanager
async def _told(machine: SandboxMachine, path: str) -> AsyncIterator[None]:
    """The SDK's errors as those of the operating system."""
    try:
        yield
    except Exception as error:
        if number := _KINDS.get(type(error).__name__):
            raise OSError(number, os.strerror(number), path) from error
        if isinstance(error, OSError):
            raise
        await machine.check()
        raise machine.trouble(error) from error
