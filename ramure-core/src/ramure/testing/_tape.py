"""What is on a cassette, and its file: JSON in which texts are lists of lines, to be read in diffs.

A request's messages are those of an earlier one and some more: the file names the earlier one
(``after``) and tells the rest. System prompts and sets of tools are told once.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ramure.testing._meaning import Meaning

VERSION = 1
Ending = Literal["complete", "dropped", "left"]


@dataclass(slots=True)
class Answer:
    """What a model answered.

    Attributes:
        status: of HTTP; 0 where the connection broke before there was one.
        headers: those that mean something to an agent.
        body: as it came, secrets removed.
        ending: it is whole, the model's side broke it off, or the agent left before its end.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    ending: Ending = "left"

    @property
    def streamed(self) -> bool:
        """Whether it came as server-sent events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


@dataclass(slots=True)
class Interaction:
    """A request and its answer."""

    number: int
    meaning: Meaning
    answer: Answer


@dataclass(slots=True)
class Tape:
    """All that is recorded of one provider.

    Attributes:
        provider: pi's name for it.
        api: pi's name for how it is spoken to.
        model: the id of the model that agents have by default.
        definition: of a provider that pi does not know by itself; else empty.
    """

    provider: str
    api: str
    model: str
    definition: dict[str, Any] = field(default_factory=dict)
    interactions: list[Interaction] = field(default_factory=list)

    def begin(self, meaning: Meaning) -> Interaction:
        """A request has come."""
        interaction = Interaction(len(self.interactions) + 1, meaning, Answer())
        self.interactions.append(interaction)
        return interaction


def written(tape: Tape) -> str:
    """The file's text."""
    systems: dict[str, int] = {}
    toolsets: dict[tuple[str, ...], int] = {}
    told = []
    for interaction in tape.interactions:
        meaning, answer = interaction.meaning, interaction.answer
        after = _before(interaction, tape.interactions)
        known = len(after.meaning.messages) if after else 0
        told.append(
            {
                "number": interaction.number,
                "model": meaning.model,
                "system": systems.setdefault(meaning.system, len(systems)),
                "tools": toolsets.setdefault(meaning.tools, len(toolsets)),
                "after": after.number if after else 0,
                "messages": [text.split("\n") for text in meaning.messages[known:]],
                "answer": {
                    "status": answer.status,
                    "headers": answer.headers,
                    "ending": answer.ending,
                    "body": answer.body.split("\n"),
                },
            }
        )
    content = {
        "cassette": VERSION,
        "provider": tape.provider,
        "api": tape.api,
        "model": tape.model,
        "definition": tape.definition,
        "systems": [text.split("\n") for text in systems],
        "tools": [list(tools) for tools in toolsets],
        "interactions": told,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _before(interaction: Interaction, all_of_them: list[Interaction]) -> Interaction | None:
    """The request whose messages this one begins with; the one with the most of them."""
    messages = interaction.meaning.messages
    candidates = [
        other
        for other in all_of_them[: interaction.number - 1]
        if messages[: len(other.meaning.messages)] == other.meaning.messages
    ]
    return max(candidates, key=lambda other: len(other.meaning.messages), default=None)


def read(text: str) -> Tape:
    """The tape that a file's text is.

    Raises:
        ValueError, LookupError, TypeError: it is none.
    """
    content = json.loads(text)
    if content["cassette"] != VERSION:
        raise ValueError(f"it is of version {content['cassette']}; this ramure reads {VERSION}")
    tape = Tape(content["provider"], content["api"], content["model"], content["definition"])
    systems = ["\n".join(lines) for lines in content["systems"]]
    for told in content["interactions"]:
        earlier = tape.interactions[told["after"] - 1].meaning.messages if told["after"] else ()
        meaning = Meaning(
            told["model"],
            systems[told["system"]],
            tuple(content["tools"][told["tools"]]),
            (*earlier, *("\n".join(lines) for lines in told["messages"])),
        )
        tape.begin(meaning).answer = _answer(told["answer"])
    return tape


def _answer(told: Mapping[str, Any]) -> Answer:
    return Answer(told["status"], told["headers"], "\n".join(told["body"]), told["ending"])


def store(path: Path, text: str) -> None:
    """Write the file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)  # it is no secret, and belongs beside the tests
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
