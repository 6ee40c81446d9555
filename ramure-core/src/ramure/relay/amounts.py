"""How large a file is: a large one goes beside the relay where that is the faster way.

Folders never do: one that broke off half-way and is filled again could keep what it had by then.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ramure._files import absolute, script
from ramure.machine import LocalPath, Machine

LARGE = 4_000_000
"""Bytes from which a file is large: by then, the second way through Node.js costs more than a
command of the machine's own.
"""

# $1 path. Says how many blocks of 1024 bytes it has on the disk; nothing where it is no file.
SIZE = '[ ! -f "$1" ] || exec du -skL "$1"'


def is_large_here(path: LocalPath) -> bool:
    """Whether it is a large file; what cannot be looked at is none. Blocking."""
    with suppress(OSError):
        return Path(path).is_file() and Path(path).stat().st_size >= LARGE
    return False


async def is_large_there(machine: Machine, path: str) -> bool:
    """Whether it is a large file on a machine; where nobody can say, not."""
    said = await machine.exec(script(SIZE, absolute(machine, path)), cwd="/")
    size = said.stdout.partition("\t")[0]
    return size.isdigit() and int(size) * 1024 >= LARGE
