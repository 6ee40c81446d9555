"""What must not be in a cassette: it is removed, and looked for again before anything is stored."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

SHORTEST = 8
"""Characters of a secret at least: what is shorter is found everywhere by chance."""

SECRET = "<secret>"  # noqa: S105 what stands in a secret's place

_TELLING = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
"""Names of variables that hold secrets end so."""

_LIKELY = re.compile(r"(?=.*\d).{12,}|.{20,}", re.DOTALL)
"""What they hold is a word or a switch at times, which is no secret."""

_KNOWN = [
    re.compile(pattern)
    for pattern in (
        r"\bsk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, OpenRouter and others
        r"\bgsk_[A-Za-z0-9]{20,}",
        r"\bxai-[A-Za-z0-9]{20,}",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_\w{20,}",
        r"\bhf_[A-Za-z0-9]{20,}",
        r"\bAIza[A-Za-z0-9_-]{30,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bey[JK][A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # a JSON web token
        r"(?i)(?<=\bbearer )[A-Za-z0-9._~+/-]{16,}=*",
    )
]


class Secrets:
    """Values and patterns that are secret.

    Args:
        values: secret as they are; those shorter than ``SHORTEST`` characters are left out.
        patterns: what they match is secret, beside keys of known shapes.
        env: an environment: the values of variables with telling names are secret, too.
    """

    def __init__(
        self,
        values: Iterable[str],
        *,
        patterns: Iterable[re.Pattern[str]] = (),
        env: Mapping[str, str],
    ) -> None:
        telling = [
            value
            for name, value in env.items()
            if _TELLING.search(name) and _LIKELY.match(value) and "/" not in value
        ]
        spellings = {
            spelling
            for value in (*values, *telling)
            if len(value) >= SHORTEST
            for spelling in _spellings(value)
        }
        self._values = sorted(spellings, key=len, reverse=True)
        self._patterns = [*_KNOWN, *patterns]

    def removed(self, text: str) -> str:
        """The text without them."""
        for value in self._values:
            text = text.replace(value, SECRET)
        for pattern in self._patterns:
            text = pattern.sub(SECRET, text)
        return text

    def in_text(self, text: str) -> bool:
        """Whether one is there."""
        known = any(pattern.search(text) for pattern in self._patterns)
        return known or any(value in text for value in self._values)

    def in_stream(self, lines: Iterable[str]) -> bool:
        """Whether one is there in pieces, as a stream brings a text."""
        texts: defaultdict[str, str] = defaultdict(str)
        for line in lines:
            for place, text in _strings(_data(line)):
                texts[place] += text
        return any(self.in_text(text) for text in texts.values())


def _spellings(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
    yield base64.b64encode(value.encode()).decode()


def _data(line: str) -> Any:
    try:
        return json.loads(line.removeprefix("data:"))
    except ValueError:
        return None


def _strings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The strings in a value, each with its place, which is the same in all events of a kind."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, f"{place}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, place)
