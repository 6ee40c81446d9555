"""What is printed: results on stdout, everything else on stderr; colours only for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def show(text: str = "") -> None:
    """Print a line of a result."""
    sys.stdout.write(f"{text}\n")


def show_json(value: Any) -> None:
    """Print a result for programs."""
    show(json.dumps(value, indent=2, ensure_ascii=False))


def tell(text: str) -> None:
    """Tell the person something that is no result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def for_people() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def _painted(code: str, text: str) -> str:
    plain = not for_people() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not text else f"\x1b[{code}m{text}\x1b[0m"


def bold(text: str) -> str:
    """Emphasised where a person reads it."""
    return _painted("1", text)


def dim(text: str) -> str:
    """Less important where a person reads it."""
    return _painted("2", text)


_COLOURS = {"busy": "33", "idle": "32", "running": "32", "ended": "2", "failed": "31"}


def status(text: str) -> str:
    """A status, in its colour where a person reads it."""
    return _painted(_COLOURS[text], text) if text in _COLOURS else text


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns; the last one is not padded."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    for number, line in enumerate(lines):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        text = "  ".join(padded).rstrip()
        show(bold(text) if number == 0 else text)


def duration(seconds: float) -> str:
    """``7s``, ``3m20s``, ``2h05m``, ``3d04h``."""
    whole = max(0, int(seconds))
    for unit, size, lesser, smaller in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller:02}{lesser}"
    return f"{whole // 60}m{whole % 60:02}s" if whole >= 60 else f"{whole}s"


def amount(number: int) -> str:
    """``950``, ``12.3k``, ``4.5M``."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def printable(text: str) -> str:
    """Text that cannot act on a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
