"""Files and folders of any size between this computer and a machine, in bounded memory."""

from __future__ import annotations

import stat
import tarfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, EndOfStream, from_thread
from anyio.abc import ByteSendStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure._archive import pack, unpack
from ramure._disk import CHUNK, fill_folder, replace_file
from ramure._files import FETCH, Header, absolute, converse, header, not_copied, script, store
from ramure._work import in_thread

if TYPE_CHECKING:
    from ramure.machine import LocalPath, Machine, Process

POOL = "transfers"

# $1 folder, $2 mode of a new one. An existing one keeps its own, and what else is in it.
UNPACK = """LC_ALL=C; export LC_ALL
new=; [ -d "$1" ] || new=1
mkdir -p "$1" && cd "$1" && tar -xpof - || exit 1
[ -z "$new" ] || chmod "$2" .
"""


class Sending:
    """A stream to a process, as a worker thread sees it."""

    def __init__(self, stream: ByteSendStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        from_thread.check_cancelled()
        from_thread.run(self._stream.send, data)


class Receiving:
    """A stream from a process, as a worker thread sees it; at most ``limit`` bytes of it."""

    def __init__(self, stream: BufferedByteReceiveStream, limit: float = float("inf")) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Receive at most ``size`` bytes (0 or less: what is there); none at the end."""
        from_thread.check_cancelled()
        most = int(min(size if size > 0 else CHUNK, self._left))
        if not most:
            return b""
        try:
            data = from_thread.run(self._stream.receive, most)
        except EndOfStream:
            return b""
        self._left -= len(data)
        return data


async def upload(machine: Machine, local: LocalPath, remote: str) -> None:
    """``Machine.upload``."""
    source, path = Path(local), absolute(machine, remote)
    status = await in_thread(source.stat, pool=POOL)
    mode, size = status.st_mode & 0o777, status.st_size

    async def send_tree(process: Process) -> None:
        await in_thread(lambda: pack(source, Sending(process.stdin)), pool=POOL)

    async def send_file(process: Process) -> None:
        await in_thread(lambda: _send_file(source, size, Sending(process.stdin)), pool=POOL)

    if stat.S_ISDIR(status.st_mode):
        await converse(machine, path, send_tree, script(UNPACK, path, f"{mode:o}"))
    elif stat.S_ISREG(status.st_mode):
        await store(machine, path, size, mode, send_file)
    else:
        raise not_copied(str(source))


def _send_file(source: Path, size: int, target: Sending) -> None:
    with source.open("rb") as file:
        while size and (chunk := file.read(min(CHUNK, size))):
            target.write(chunk)
            size -= len(chunk)


async def download(machine: Machine, remote: str, local: LocalPath) -> None:
    """``Machine.download``."""
    path, target = absolute(machine, remote), Path(local)

    async def talk(process: Process) -> None:
        stream = BufferedByteReceiveStream(process.stdout)
        what = await header(stream)
        await in_thread(lambda: _receive(what, stream, target), pool=POOL)

    await converse(machine, path, talk, script(FETCH, path))


def _receive(what: Header, stream: BufferedByteReceiveStream, target: Path) -> None:
    try:
        if what.folder:
            fill_folder(target, what.mode, partial(unpack, Receiving(stream)))
        else:
            replace_file(target, Receiving(stream, what.size), what.mode, what.size)
    except (tarfile.TarError, EOFError) as error:  # the end came early: the script says why
        raise BrokenResourceError from error
