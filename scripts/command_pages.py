"""The reference of the command line, from the command line itself: for scripts/site_pages.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that core brings, with all its words, as click has it."""
    from ramure.cli.app import build

    yield from _beneath("ramure", typer.main.get_command(build(whole=True)))


def _beneath(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _beneath(f"{words} {name}", each)


def parameters(command: Any) -> Iterator[tuple[str, str]]:
    """What a command takes, each as people write it, and its help."""
    for parameter in command.params:
        if parameter.name != "help":
            option = parameter.param_type_name == "option"
            names = [*parameter.opts, *parameter.secondary_opts] if option else []
            value = parameter.metavar or (parameter.name or "").upper()
            if not names:
                names = [value]
            elif not (parameter.is_flag or parameter.count):
                names[0] += f" {value}"
            yield ", ".join(names), parameter.help or ""


def reference() -> str:
    """Markdown: a section for each command with its line of help and all it takes."""
    return "\n".join(line for words, command in commands() for line in _section(words, command))


def _section(words: str, command: Any) -> Iterator[str]:
    help_ = (command.help or "").split("\f")[0]
    yield from ("", f"### `{words}`", "", *help_.splitlines(), "")
    if rows := list(parameters(command)):
        yield from ("| | |", "|---|---|")
        yield from (f"| `{names}` | {text.replace('|', chr(92) + '|')} |" for names, text in rows)
