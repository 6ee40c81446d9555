"""What can still be read of a message that is not as it should be.

A message that cannot be decoded must neither stop those after it nor leave a call without an
answer; for both it is enough to know its number and its call.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import msgspec

from ramure.run.lines import Overlong

_MEMBER = re.compile(rb'\s*"([^"\\]*)"\s*:\s*("[^"\\]*"|\d{1,15})\s*,')
"""A member of the object, as long as they are plain."""

_LAST = re.compile(rb'[{,]\s*"n"\s*:\s*(\d{1,15})\s*}\s*$')
"""The number as the very last member. Nothing else can end so: the last brace is the object's."""


@dataclass(frozen=True, slots=True)
class Remains:
    """Of a message: its number (0: unknown), and of a ``call`` its id ("": unknown)."""

    n: int = 0
    call: str = ""


class _Loose(msgspec.Struct):
    t: object = None
    n: object = None
    call: object = None


def mend(line: bytes) -> bytes | None:
    """The message with U+FFFD or ``?`` for what is not Unicode (half an emoji, stray bytes)."""
    try:
        plain = json.loads(line.decode("utf-8", "replace"))
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def remains(line: bytes | Overlong) -> Remains:
    """Read what can be read of a message that is malformed, of an unknown kind, or too large."""
    if isinstance(line, bytes):
        try:
            loose = msgspec.json.decode(line, type=_Loose)
        except (ValueError, RecursionError):
            line = Overlong.of(line)
        else:
            return _remains(loose.t, loose.n, loose.call)
    members = dict(_plain_members(line.head))
    last = _LAST.search(line.tail)
    return _remains(
        members.get("t"), int(last[1]) if last else members.get("n"), members.get("call")
    )


def _remains(kind: object, n: object, call: object) -> Remains:
    known = type(n) is int and n > 0
    return Remains(
        n if known else 0,  # type: ignore[arg-type]
        call if kind == "call" and isinstance(call, str) else "",
    )


def _plain_members(head: bytes) -> list[tuple[str, object]]:
    """The plain members at the very start of the object."""
    found: list[tuple[str, object]] = []
    position = head.find(b"{") + 1
    while match := _MEMBER.match(head, position):
        key, value = match[1].decode("utf-8", "replace"), match[2]
        found.append((key, json.loads(value.decode("utf-8", "replace"))))
        position = match.end()
    return found
