"""What a request means: what is left of it when all that changes from run to run is taken away."""

from __future__ import annotations

import difflib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ramure.run.protocol import ToolDef
from ramure.testing._secrets import Secrets
from ramure.testing.request import Message, Request

_OF_PI = re.compile(r"\n*<(docs|tools|rules|cwd)>\n.*?\n</\1>", re.DOTALL)
"""Sections of the system prompt that are pi's own and change with its version."""

_CWD = re.compile(r"<cwd>\n(.+?)\n</cwd>|^Current working directory: (.+)$", re.MULTILINE)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?"

_VOLATILE = [
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"\b\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?)?", "<date>"),
        (rf"(?:(?:{_DAYS}),? )?\b(?:{_MONTHS}) \d{{1,2}},? \d{{4}}\b", "<date>"),
        (r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}\b", "<date>"),
        (rf"(?<![\d:]){_CLOCK}(?![\d:])", "<time>"),
        (r"\b\d+\.\d+ ?m?s\b", "<duration>"),
        (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<id>"),
        (r"\b(?:call|toolu|msg|resp|req|fc)_(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{8,}", "<id>"),
        (r"\bramure-[a-z0-9]{8,}-\d+\b", "<machine>"),
        (r"(?<![\w/])/[^\s\"'<>]*/node_modules/", "<modules>/"),
    )
]
"""What is different in each run, and what stands for it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What decides whether a request is the one that was recorded.

    Attributes:
        tools: each with the names of its parameters.
        messages: each as people would read it.
    """

    model: str
    system: str
    tools: tuple[str, ...]
    messages: tuple[str, ...]

    def lines(self) -> list[str]:
        """All of it, to be read and compared."""
        parts = (f"model: {self.model}", *self.tools, f"system: {self.system}", *self.messages)
        return [line for part in parts for line in part.splitlines()]


class Reader:
    """Reads the meaning of requests.

    Args:
        secrets: what must not be in it.
        ignore: patterns of what else changes from run to run.
        home: the person's home folder, told as ``<home>``.
    """

    def __init__(
        self, secrets: Secrets, *, ignore: Iterable[re.Pattern[str]] = (), home: str
    ) -> None:
        self._secrets = secrets
        self._volatile = [*((pattern, "<ignored>") for pattern in ignore), *_VOLATILE]
        self._home = home
        self._temporary = {tempfile.gettempdir(), "/tmp"}  # noqa: S108 only looked for

    def places(self, request: Request) -> dict[str, str]:
        """The folders that are told by name: ``<cwd>`` and ``<home>``."""
        found = _CWD.search(request.system)
        cwd = (found[1] or found[2]) if found else ""
        return {name: path for name, path in (("<cwd>", cwd), ("<home>", self._home)) if path}

    def read(self, request: Request) -> Meaning:
        """The meaning of a request."""
        places = self.places(request)

        def clean(text: str) -> str:
            return self._clean(text, places)

        return Meaning(
            request.model,
            clean(_OF_PI.sub("", request.system)),
            tuple(sorted(map(_tool, request.tools))),
            tuple(clean("\n".join(_told(message))) for message in request.messages),
        )

    def _clean(self, text: str, places: dict[str, str]) -> str:
        text = self._secrets.removed(text)
        for name, path in places.items():
            text = replace_path(text, path, name)
        for folder in self._temporary:
            text = re.sub(rf"(?<![\w/]){re.escape(folder)}/[^\s/\"'<>]+", "<tmp>", text)
        for pattern, name in self._volatile:
            text = pattern.sub(name, text)
        return text


def replace_path(text: str, path: str, name: str) -> str:
    """The text with another name for a folder, but not for others that begin as it does."""
    if Path(path) == Path("/"):
        return text
    return re.sub(rf"(?<![\w/]){re.escape(path)}(?![\w.-])", lambda _: name, text)


def _tool(tool: ToolDef) -> str:
    properties = tool.parameters.get("properties")
    return f"tool {tool.name}({', '.join(sorted(properties or ()))})"


def _told(message: Message) -> Iterator[str]:
    if message.text or not (message.calls or message.results):
        yield f"{message.role}: {message.text}"
    for call in message.calls:
        arguments = json.dumps(call.arguments, ensure_ascii=False, sort_keys=True)
        yield f"{message.role} calls {call.name} {arguments}"
    for result in message.results:
        yield f"result of {result.name}: {result.text}"


def closest(wanted: Meaning, among: Sequence[Meaning]) -> int:
    """The index of the one that is most like it."""

    def likeness(index: int) -> tuple[int, float]:
        other = among[index]
        same = 0
        for one, two in zip(wanted.messages, other.messages, strict=False):
            if one != two:
                break
            same += 1
        ratio = difflib.SequenceMatcher(None, wanted.lines(), other.lines()).ratio()
        return same, ratio

    return max(range(len(among)), key=likeness)


def difference(recorded: Meaning, asked: Meaning) -> str:
    """What differs, as ``diff -u`` tells it."""
    return "\n".join(
        difflib.unified_diff(recorded.lines(), asked.lines(), "recorded", "asked", lineterm="", n=2)
    )
