"""What is said to a host's shell, so that every kind of shell understands it alike.

A login shell (bash, fish, csh, …) gets one short command with no secret in it, which reads a line
of POSIX ``sh`` from its input and runs it. All else is in that line. Its variables are called
``ramure_…``: a command's environment may have any other.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from ramure.errors import UsageError

READ = 'IFS= read -r ramure_line && eval "$ramure_line"'
BOOT = f"exec sh -c '{READ}'"
"""The command: single quotes without ``!``, ``\\`` or newlines mean the same to all shells."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SHELLS_OWN = re.compile(
    "E?UID|PPID|GROUPS|DIRSTACK|FUNCNAME|LINENO|HISTCMD|SHELLOPTS|S?RANDOM|SECONDS"
    "|EPOCH(SECONDS|REALTIME)|BASH(OPTS|PID|_ARGV0|_COMMAND|_SUBSHELL|_VERSINFO)"
)
"""What bash keeps for itself: to export it ends the script, or gives it another value."""


def quote(text: str) -> str:
    """One word of a line that begins with ``line``'s first words; newlines, too."""
    return "'" + text.replace("'", "'\\''").replace("\n", "'\"$ramure_n\"'") + "'"


def line(script: str) -> bytes:
    """The line that has ``READ`` run ``script``, whose words are quoted by ``quote``."""
    # The third character that separates words by default is the newline.
    return f"ramure_n=${{IFS#??}};{script}\n".encode("utf-8", "surrogateescape")


def words(items: Sequence[str]) -> str:
    """Several words."""
    return " ".join(map(quote, items))


def exports(env: Mapping[str, str]) -> str:
    """What puts ``env`` into the environment, but for what bash would not have (``given``).

    Raises:
        UsageError: a name that no shell could export.
    """
    for name in env:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of an environment variable on an SSH host"
            )
    common = ((name, value) for name, value in env.items() if not _SHELLS_OWN.fullmatch(name))
    return "".join(f"export {name}={quote(value)};" for name, value in common)


def given(env: Mapping[str, str]) -> list[str]:
    """Words in front of a command that give it what ``exports`` leaves out.

    Such a value is an argument until the command itself runs; it is a number by its name's nature.
    """
    own = [f"{name}={value}" for name, value in env.items() if _SHELLS_OWN.fullmatch(name)]
    return ["env", *own] if own else []


@cache
def library() -> str:
    """The functions of ``host.sh``, without comments."""
    text = (files("ramure_ssh") / "scripts" / "host.sh").read_text("utf-8")
    return "\n".join(row for row in text.splitlines() if row and not row.startswith("#"))


def call(function: str, *arguments: str) -> str:
    """The script that calls a function of ``host.sh``."""
    return f'host_sh={quote(library())};eval "$host_sh";{function} {words(arguments)}'


def new_word() -> str:
    """What no login shell says of its own."""
    return f"ramure-{secrets.token_hex(8)}"
