"""A script that does what the message says: what contract suites and demonstrations play.

A message is lines of commands; the agent's next turn has a part for each:

    say some words              text
    call add {"a": 1, "b": 2}   a tool call
    hang                        silence until the turn is aborted
    exit 3                      the program's end (of a scripted agent only)

After the results it says ``done`` and each result.
"""

from __future__ import annotations

import json

from ramure.testing.request import Request
from ramure.testing.script import Exit, Hang, Part, Text, ToolCall


def obedient(request: Request) -> list[Part]:
    """The script."""
    if request.messages[-1].role == "tool":
        return [Text(" ".join(("done:", *(result.text for result in request.results))))]
    return [_part(line.strip()) for line in request.text.splitlines() if line.strip()]


def _part(line: str) -> Part:
    word, _, rest = line.partition(" ")
    if word == "call":
        name, _, arguments = rest.partition(" ")
        return ToolCall(name, **json.loads(arguments or "{}"))
    if word == "hang":
        return Hang()
    if word == "exit":
        return Exit(int(rest or 0))
    return Text(rest if word == "say" else line)
