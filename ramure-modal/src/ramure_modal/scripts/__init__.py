"""The shell scripts that run in sandboxes, by ``sh``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _text(name: str) -> str:
    return (files(__name__) / f"{name}.sh").read_text("utf-8")


def script(name: str, *arguments: str) -> list[str]:
    """The command that runs one of them with these arguments."""
    return ["sh", "-c", _text(name), "ramure", *arguments]
