"""A docstring to what a model reads: a description, and one for each parameter.

Google, NumPy and Sphinx styles are understood, as far as parameters go: their section is taken out
of the description. Everything else stays as it is written.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from functools import lru_cache
from textwrap import dedent

_SECTION = r"(?:keyword |other )?(?:args|arguments|params|parameters)"
_GOOGLE = re.compile(rf"{_SECTION}:\s*$", re.IGNORECASE)
_NUMPY = re.compile(rf"{_SECTION}\s*$", re.IGNORECASE)
_RULE = re.compile(r"-{3,}\s*$")

_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|$)")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?()$")
_SPHINX_ENTRY = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?(\w+):(.*)"
)
_SPHINX_TYPE = re.compile(r":type\s+\w+:")


@lru_cache(maxsize=512)
def read(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into the description and what it says of each parameter."""
    lines = inspect.cleandoc(docstring).splitlines()
    kept: list[str] = []
    parameters: dict[str, str] = {}
    at = 0
    while at < len(lines):
        end = _end_of_block(lines, at)
        if end == at:
            kept.append(lines[at])
            at += 1
            continue
        parameters.update(_entries(lines[at:end]))
        at = end
    return "\n".join(kept).strip(), parameters


def _end_of_block(lines: list[str], at: int) -> int:
    """Where the block about parameters that starts at ``at`` ends; ``at`` where none does."""
    line, following = lines[at], lines[at + 1 : at + 2]
    if _GOOGLE.match(line) or _SPHINX_ENTRY.match(line) or _SPHINX_TYPE.match(line):
        return next((n for n in range(at + 1, len(lines)) if _is_flush(lines[n])), len(lines))
    if _NUMPY.match(line) and following and _RULE.match(following[0]):
        rules = (n for n in range(at + 2, len(lines)) if _RULE.match(lines[n]))
        return next(rules, len(lines) + 1) - 1
    return at


def _is_flush(line: str) -> bool:
    return bool(line) and not line[0].isspace()


def _entries(block: list[str]) -> dict[str, str]:
    head = block[0]
    if _GOOGLE.match(head):
        return _collect(dedent("\n".join(block[1:])).splitlines(), _GOOGLE_ENTRY)
    if _NUMPY.match(head):
        return _collect(block[2:], _NUMPY_ENTRY)
    return _collect(block, _SPHINX_ENTRY)


def _collect(lines: Iterable[str], entry: re.Pattern[str]) -> dict[str, str]:
    """What follows each line that starts an entry, joined to one paragraph."""
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for line in lines:
        if match := entry.match(line):
            words = [(match[2] or "").strip()]
            found.update(dict.fromkeys(re.findall(r"\w+", match[1]), words))
        else:
            words.append(line.strip())
    return {name: " ".join(filter(None, said)) for name, said in found.items()}
