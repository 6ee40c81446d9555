"""Single files on any machine that has ``sh``, ``cat``, ``head``, ``wc`` and ``ls``.

The scripts get every path as an argument of its own, absolute, and never as part of their text.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    DelimiterNotFound,
    EndOfStream,
    IncompleteRead,
)
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure._disk import CHUNK
from ramure._exec import Capture, abandon, settle
from ramure._work import to_end
from ramure.cancellation import Job
from ramure.errors import LinkBroken, MachineError, UsageError

if TYPE_CHECKING:
    from ramure.machine import Machine, Process
    from ramure.values import ExecResult

T = TypeVar("T")

# $1 path
READ = """LC_ALL=C; export LC_ALL
if [ -d "$1" ]; then echo 'Is a directory' >&2; exit 1; fi
exec cat <"$1"
"""

LARGE = "large\n"

# $1 path, $2 size. Of a file that has so many bytes or more, it says only that. What is no file, a
# pipe perhaps, is read in any case: it may not be there again.
READ_UNLESS_LARGE = """LC_ALL=C; export LC_ALL
if [ -d "$1" ]; then echo 'Is a directory' >&2; exit 1; fi
if [ -f "$1" ]; then
  set -f
  set -- "$1" "$2" $(ls -ldnL "$1")
  if [ "${7:-0}" -ge "$2" ]; then echo large >&2; exit; fi
fi
exec cat <"$1"
"""

# $1 path. A line first: "f SIZE MODE", then the content; or "d 0 MODE", then a tar archive.
# The size is taken once, so that a file that grows meanwhile gives a consistent beginning.
FETCH = """LC_ALL=C; export LC_ALL
mode=$(ls -ldL "$1") || exit 1
if [ -d "$1" ]; then
  cd "$1" || exit 1
  echo "d 0 ${mode%% *}"
  exec tar -cf - .
fi
[ -f "$1" ] || { echo 'neither a file nor a folder' >&2; exit 1; }
size=$(wc -c <"$1") || exit 1
echo "f" $size "${mode%% *}"
[ $size -eq 0 ] || exec head -c $size <"$1"
"""

# $1 folder, $2 temporary path in it, $3 path, $4 mode or nothing, $5 size. A link that breaks looks
# like the end of the input, hence the size.
STORE = """LC_ALL=C; export LC_ALL
if [ -d "$3" ]; then echo 'Is a directory' >&2; exit 1; fi
mkdir -p "$1" || exit 1
if [ -n "$4" ]; then umask 077; fi
if cat >"$2" && [ $(wc -c <"$2") -eq "$5" ] && { [ -z "$4" ] || chmod "$4" "$2"; } &&
  mv -f "$2" "$3"
then exit 0; fi
rm -f "$2"
exit 1
"""

_ERRNO = {
    "no such file": errno.ENOENT,
    "nonexistent": errno.ENOENT,
    "permission denied": errno.EACCES,
    "not permitted": errno.EPERM,
    "is a directory": errno.EISDIR,
    "not a directory": errno.ENOTDIR,
    "file exists": errno.EEXIST,
    "no space left": errno.ENOSPC,
    "quota exceeded": errno.EDQUOT,
    ": wrote only ": errno.ENOSPC,  # GNU tar, of what did not go in whole
    "read-only file system": errno.EROFS,
    "name too long": errno.ENAMETOOLONG,
    "neither a file nor a folder": errno.EINVAL,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What ``FETCH`` says before the content."""

    folder: bool
    size: int
    mode: int


def absolute(machine: Machine, path: str) -> str:
    """``path`` under the machine's working directory, unless it is absolute already.

    Raises:
        UsageError: it is empty, or has a NUL byte.
    """
    if not path or "\0" in path:
        raise UsageError(f"{path!r} is not a path")
    return posixpath.join(machine.workdir, path).rstrip("/") or "/"


def script(text: str, *arguments: str) -> list[str]:
    """The command that runs a script with these arguments."""
    return ["sh", "-c", text, "ramure", *arguments]


def os_error(path: str, said: str, machine: str) -> OSError | MachineError:
    """The error that the machine's tools put into words."""
    words = said.replace(path, "").lower()
    for fragment, number in _ERRNO.items():
        if fragment in words:
            return OSError(number, os.strerror(number), path)
    return MachineError(f"{path}: {said.strip() or 'failed without a word'}", machine=machine)


async def read(machine: Machine, path: str, max_bytes: int) -> bytes:
    """``Machine.read_file``."""
    path = absolute(machine, path)
    return (await _read(machine, path, max_bytes, script(READ, path))).stdout_bytes


async def read_unless_large(machine: Machine, path: str, size: int, max_bytes: int) -> bytes | None:
    """As ``read``; None where it is a file of so many bytes or more."""
    path = absolute(machine, path)
    command = script(READ_UNLESS_LARGE, path, str(size))
    result = await _read(machine, path, max_bytes, command)
    return None if result.stderr == LARGE else result.stdout_bytes


async def _read(machine: Machine, path: str, max_bytes: int, command: list[str]) -> ExecResult:
    result = await machine.exec(command, max_output=max_bytes)
    if not result.ok:
        raise os_error(path, result.stderr, machine.name)
    if result.truncated:
        raise too_large(path, max_bytes)
    return result


def too_large(path: str, max_bytes: int) -> OSError:
    """The error of a file that is larger than somebody wanted to read."""
    return OSError(errno.EFBIG, f"larger than max_bytes={max_bytes}", path)


async def write(machine: Machine, path: str, data: bytes, mode: int | None) -> None:
    """``Machine.write_file``."""

    async def talk(process: Process) -> None:
        for start in range(0, len(data), CHUNK):
            await process.stdin.send(data[start : start + CHUNK])

    await store(machine, absolute(machine, path), len(data), mode, talk)


def not_copied(path: str) -> OSError:
    """The error of a pipe, a socket or a device that somebody wanted to copy."""
    return OSError(errno.EINVAL, "neither a file nor a folder", path)


async def store(
    machine: Machine,
    path: str,
    size: int,
    mode: int | None,
    talk: Callable[[Process], Awaitable[None]],
) -> None:
    """Have ``talk`` send the ``size`` bytes of a file, which is there whole or not at all.

    Raises:
        OSError, MachineError: as ``converse``; nothing is left on the machine.
    """
    folder = posixpath.dirname(path)
    temporary = posixpath.join(folder, f".ramure-{secrets.token_hex(8)}")
    permissions = "" if mode is None else f"{mode:o}"
    command = script(STORE, folder, temporary, path, permissions, str(size))
    try:
        await converse(machine, path, talk, command)
    except OSError:
        raise  # the script's own words: it has tidied up
    except LinkBroken as error:
        error.leftover = temporary
        await to_end(partial(_forget, machine, temporary))
        raise
    except BaseException:
        await to_end(partial(_forget, machine, temporary))
        raise


async def _forget(machine: Machine, path: str) -> None:
    with suppress(OSError, MachineError):  # the first failure is the one worth telling
        await machine.exec(["rm", "-f", path])


async def converse(
    machine: Machine, path: str, talk: Callable[[Process], Awaitable[T]], command: list[str]
) -> T:
    """Run a script, ``talk`` with it over its input and output, and see that it ends well.

    Raises:
        OSError: what the script says about ``path``.
        MachineError: anything else that it says.
    """
    process = await machine.open_process(command)
    said = Capture(100_000)

    async def body() -> T:
        value: list[T] = []
        with suppress(BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead):
            value.append(await talk(process))  # one that ends early says why on stderr
        await process.stdin.aclose()
        await process.stdout.aclose()  # one that has more to say must not wait for us to listen
        exit_code = await process.wait()
        await settle(said)
        words = said.data().decode("utf-8", "replace")
        if not value or (exit_code and not _only_changed(words)):
            raise os_error(path, words, machine.name)
        return value[0]

    job = Job(body)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(said.read, process.stderr)
            await job.run()
            tasks.cancel_scope.cancel()
    finally:
        await (process.aclose() if job.made else abandon(process))
    return job.outcome()


def _only_changed(words: str) -> bool:
    # GNU tar's exit code 1: a file that somebody is writing, such as a log. What came is whole.
    lines = words.splitlines()
    return bool(lines) and all(line.endswith("changed as we read it") for line in lines)


async def header(stream: BufferedByteReceiveStream) -> Header:
    """Read the line that ``FETCH`` says first.

    Raises:
        MachineError: it makes no sense.
    """
    try:
        line = await stream.receive_until(b"\n", 200)
    except DelimiterNotFound:
        line = b""
    if found := re.fullmatch(rb"([df]) (\d{1,20}) (\S{10,12})", line):
        kind, size, mode = found.groups()
        return Header(kind == b"d", int(size), mode_of(mode.decode("ascii", "replace")))
    raise MachineError(f"what it says of the file makes no sense: {line!r}")


def mode_of(text: str) -> int:
    """The mode that ``ls -l`` shows as ``-rwxr-xr-x``; 0o755 for that one."""
    return sum(
        1 << (8 - place)
        for place, letter in enumerate(text[1:10])
        if letter not in "-ST"  # S, T: a special bit without the right to execute
    )
