"""Bringing a tool set to a machine: found there, mounted there, or uploaded once."""

from __future__ import annotations

import posixpath
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ramure._files import script
from ramure._work import to_end
from ramure.errors import MachineError
from ramure.toolset import PROBE, Platform, Progress, ToolSet

if TYPE_CHECKING:
    from ramure.machine import Machine

ANSWER_WITHIN = 30.0
"""Seconds that a machine may take to answer a question."""

BROUGHT_WITHIN = 1800.0
"""Seconds that bringing a set may take: some 200 MB over a slow line."""

REMOVED_WITHIN = 60.0
"""Seconds that removing what was only half brought may take."""

# $1 folder of the sets, $2 name of a new one. What was begun more than a day ago is nobody's.
BEGIN = """LC_ALL=C; export LC_ALL
if [ -d "$1/$2" ]; then echo there; exit 0; fi
mkdir -p "$1" || exit 1
find "$1" -maxdepth 1 -name '.new-*' -mtime +0 -exec rm -rf {} + 2>/dev/null
exit 0
"""

# $1 folder of the sets, $2 name, $3 where it has been brought to. Moving a folder into another in
# which there is one of its name fails: whoever was first has brought the same.
FINISH = """LC_ALL=C; export LC_ALL
said=$(mv "$1/$3/$2" "$1/" 2>&1) || [ -d "$1/$2" ] || { echo "$said" >&2; exit 1; }
rm -rf "$1/$3"
"""


class Equipment:
    """The tool sets of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = anyio.Lock()
        self._folders: dict[str, str] = {}
        self._needless: set[str] = set()

    def folder(self, tools: ToolSet) -> str | None:
        """See ``Machine.tool_folder``."""
        return self._machine.mounted_tools.get(tools.name) or self._folders.get(tools.name)

    async def equip(self, tools: ToolSet, progress: Progress) -> None:
        """See ``Machine.equip``."""
        async with self._lock:
            if self.folder(tools) is not None or tools.name in self._needless:
                return
            if await tools.look(self._machine):
                self._needless.add(tools.name)
            else:
                self._folders[tools.name] = await self._bring(tools, progress)

    async def _bring(self, tools: ToolSet, progress: Progress) -> str:
        machine = self._machine
        platform = await machine.platform()
        key = tools.key(platform)
        folder = machine.tools_dir or posixpath.join(machine.state_dir, "tools")
        if await self._run(BEGIN, folder, key) == "there":
            return posixpath.join(folder, key)
        source = await tools.assemble(platform, progress)
        progress(f"bringing {tools.name} to machine {machine.name} (once)")
        new = f".new-{secrets.token_hex(8)}"
        try:
            await self._upload(source, posixpath.join(folder, new, key))
            await self._run(FINISH, folder, key, new)
        except BaseException:
            await to_end(partial(self._forget, posixpath.join(folder, new)), REMOVED_WITHIN)
            raise
        return posixpath.join(folder, key)

    async def _upload(self, source: Path, target: str) -> None:
        with anyio.move_on_after(BROUGHT_WITHIN) as patience:
            await self._machine.upload(source, target)
        if patience.cancelled_caught:
            raise MachineError(
                f"the agents' tools could not be brought within {BROUGHT_WITHIN:g} s",
                machine=self._machine.name,
            )

    async def _forget(self, folder: str) -> None:
        try:
            await self._machine.exec(["rm", "-rf", folder], timeout=REMOVED_WITHIN, cwd="/")
        except (MachineError, OSError):  # the first failure is the one worth telling
            return

    async def _run(self, text: str, *arguments: str) -> str:
        return await ask(self._machine, text, *arguments)


async def ask(machine: Machine, text: str, *arguments: str) -> str:
    """What a script says, on a machine."""
    command = script(text, *arguments)
    done = await machine.exec(command, timeout=ANSWER_WITHIN, cwd="/")
    if not done.ok:
        why = "it does not answer" if done.timed_out else done.stderr.strip()
        raise MachineError(f"the agents' tools cannot be brought: {why}", machine=machine.name)
    return done.stdout.strip()


async def platform_of(machine: Machine) -> Platform:
    """See ``Machine.platform``."""
    try:
        return Platform.read(await ask(machine, PROBE))
    except ValueError as error:
        raise MachineError(str(error), machine=machine.name) from None
