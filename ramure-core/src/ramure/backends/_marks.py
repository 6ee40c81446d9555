"""Marks in the environment, by which all that a process or a machine started is found again.

Every process gets one for its machine and one for itself, and what it starts inherits them: through
``setsid``, ``nohup`` and double forks. The marks of an outer ramure, under which this program may
run, are kept, so that the outer one finds everything, too. They are no secrets.
"""

from __future__ import annotations

import secrets

MARKS = "RAMURE_MARKS"


def new_mark() -> str:
    """A mark that nothing else has."""
    return secrets.token_hex(8)


def marked(inherited: str, *marks: str) -> str:
    """The value of ``MARKS`` for a new process."""
    return ":".join([inherited, *marks] if inherited else marks)
