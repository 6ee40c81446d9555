"""Files and folders from one machine to another, in bounded memory of this computer."""

from __future__ import annotations

import stat
import tempfile
from functools import partial
from pathlib import Path

from anyio import EndOfStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure._archive import walk
from ramure._disk import CHUNK, remove_tree
from ramure._files import FETCH, Header, absolute, converse, header, script, store
from ramure._transfer import POOL
from ramure._work import in_thread, to_end
from ramure.errors import MachineError
from ramure.machine import Machine, Process


async def copy(source: Machine, path: str, target: Machine, dest: str) -> int:
    """Copy a file or a folder of any size; ``dest`` is the path that results.

    A file streams, and is there whole or not at all. A folder goes by way of a temporary one on
    this computer, because what the source sends is not trusted: see ``Machine.download``.

    Returns:
        The bytes of the file, or of all files in the folder.

    Raises:
        UnsafePath, OSError, MachineError: as ``Machine.download`` and ``Machine.upload``.
    """
    path = absolute(source, path)

    async def talk(process: Process) -> int:
        stream = BufferedByteReceiveStream(process.stdout)
        what = await header(stream)
        if what.folder:
            raise _IsFolder
        await _pour(stream, what, target, absolute(target, dest))
        return what.size

    try:
        return await converse(source, path, talk, script(FETCH, path))
    except _IsFolder:
        return await _by_way_of_disk(source, path, target, dest)


class _IsFolder(Exception):
    """What is to be copied turned out to be a folder."""


async def _pour(
    stream: BufferedByteReceiveStream, what: Header, target: Machine, dest: str
) -> None:
    async def talk(process: Process) -> None:
        left = what.size
        while left:
            try:
                data = await stream.receive(min(left, CHUNK))
            except EndOfStream:
                raise MachineError("the file was cut short where it came from") from None
            await process.stdin.send(data)
            left -= len(data)

    await store(target, dest, what.size, what.mode, talk)


async def _by_way_of_disk(source: Machine, path: str, target: Machine, dest: str) -> int:
    folder = Path(await in_thread(partial(tempfile.mkdtemp, prefix="ramure-"), pool=POOL))
    try:
        tree = folder / "tree"
        await source.download(path, tree)
        await target.upload(tree, dest)
        return await in_thread(partial(_size, tree), pool=POOL)
    finally:
        await to_end(lambda: in_thread(partial(remove_tree, folder), pool="cleanup"))


def _size(tree: Path) -> int:
    status = (path.lstat() for _, path in walk(tree))
    return sum(entry.st_size for entry in status if stat.S_ISREG(entry.st_mode))
