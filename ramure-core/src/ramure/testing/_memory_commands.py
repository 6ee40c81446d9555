"""The few commands that every machine in memory has, and what it makes of a shell's text."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping

import anyio

from ramure.agents.lifecycle import SETTLE
from ramure.testing._memory_files import Folder
from ramure.testing._memory_process import Call, Play

SPECIAL = frozenset("|&;<>()$`\\*?[]#~={}!\n")
"""Characters for which text needs a shell."""


def words_of(text: str) -> tuple[str, ...] | None:
    """The words of text that any shell would understand in the same way; None: it needs one."""
    if SPECIAL & {*text}:
        return None
    try:
        return tuple(shlex.split(text)) or None
    except ValueError:
        return None


async def needs_a_shell(call: Call) -> int:
    """What becomes of text that nobody registered a function for."""
    await call.complain(
        f"no shell here, and no function for {call.words[0]!r}: a machine in memory runs the "
        "functions that its image, or machine.command(…), has for whole texts or for programs\n"
    )
    return 127


async def _cat(call: Call) -> int:
    """Files, or its input."""
    for name in call.words[1:]:
        try:
            await call.say(call.machine.files.read(posixpath.join(call.cwd, name)).data)
        except OSError as error:
            await call.complain(f"cat: {name}: {error.strerror}\n")
            return 1
    if not call.words[1:]:
        async for piece in call.stdin:
            await call.say(piece)
    return 0


async def _echo(call: Call) -> str:
    return " ".join(call.words[1:]) + "\n"


async def _false(call: Call) -> int:
    return 1


async def _true(call: Call) -> int:
    return 0


async def _pwd(call: Call) -> str:
    return call.cwd + "\n"


async def _sleep(call: Call) -> int:
    await anyio.sleep(float(call.words[1]))
    return 0


async def _sh(call: Call) -> int | str:
    """Knows one script: the one by which the run makes an agent's folder."""
    if call.words[1:3] != ("-c", SETTLE):
        return await needs_a_shell(call)
    folder = call.words[-1]
    if not isinstance(call.machine.files.follow(folder), Folder):
        call.machine.files.make_folder(folder, 0o700)
    return call.cwd + "\n"


BUILT_IN: Mapping[str, Play] = {
    "cat": _cat,
    "echo": _echo,
    "false": _false,
    "pwd": _pwd,
    "sh": _sh,
    "sleep": _sleep,
    "true": _true,
}
