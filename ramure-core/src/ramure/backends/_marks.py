"""Marks in the environment, by which all that a process or a machine started is found again.

Every process gets one for its machine and one for itself, and what it starts inherits them: through
``setsid``, ``nohup`` and double forks. The marks of an outer ramure, under which this program may
run, are kept, so that the outer one finds everything, too. They are no secrets.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files

from ramure._files import script

MARKS = "RAMURE_MARKS"


def new_mark() -> str:
    """A mark that nothing else has."""
    return secrets.token_hex(8)


def marked(inherited: str, *marks: str) -> str:
    """The value of ``MARKS`` for a new process."""
    return ":".join([inherited, *marks] if inherited else marks)


def kill_command(mark: str, root: str = "") -> list[str]:
    """A command for machines that have no more than ``sh`` and ``grep``: kills all with this mark.

    Args:
        mark: of what was started.
        root: the number of the command itself while it runs; what has cleared its environment is
            found as its descendant or in its session.

    Returns:
        The command, whose output begins with ``left`` where something could not be killed.
    """
    return script(kill_script(), mark, root)


@cache
def kill_script() -> str:
    """The script of ``kill_command``, for what runs it by itself."""
    return (files("ramure.backends") / "_kill.sh").read_text("utf-8")
