"""How much there is to copy: what is large goes beside the relay where that is the faster way."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from pathlib import Path

from ramure._files import absolute
from ramure.machine import LocalPath, Machine

LARGE = 4_000_001
"""Bytes from which a file or a tree is large: what the second way through Node.js costs by then is
more than a command of the machine's own. An odd number: what is read to just so many bytes is taken
for the beginning of a file that has more.
"""

LOOKING = 2.0
"""Seconds in which it is seen how much there is; what takes longer is much."""


def is_large_here(path: LocalPath) -> bool:
    """Whether a file, or all that is in a folder, is; what cannot be read is nothing. Blocking."""
    size = 0
    for one in chain([Path(path)], Path(path).rglob("*")):
        with suppress(OSError):
            size += one.lstat().st_size
        if size >= LARGE:
            return True
    return False


async def is_large_there(machine: Machine, path: str) -> bool:
    """Whether a file, or all that is in a folder, is on a machine; where nobody can say, not."""
    with suppress(OSError):  # there is no `du`
        command = ["du", "-sk", absolute(machine, path)]
        said = await machine.exec(command, timeout=LOOKING, cwd="/")
        size = said.stdout.partition("\t")[0]
        return said.timed_out or (size.isdigit() and int(size) * 1024 >= LARGE)
    return False
