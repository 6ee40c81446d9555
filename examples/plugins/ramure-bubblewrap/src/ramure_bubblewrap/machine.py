"""A sandbox as a machine."""

from __future__ import annotations

import errno
import json
import os
import posixpath
import pwd
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ramure.backends.local import LocalMachine
from ramure.errors import MachineGone
from ramure.machine import Command, Machine, Process
from ramure.values import MachineRef, PtySize
from ramure_bubblewrap.sandbox import STATE, WORK, Sandbox

ENTER = Path(__file__).with_name("enter.py")
SHELL = "bash" if shutil.which("bash", path="/usr/bin:/bin") else "sh"


# --8<-- [start:machine]
class BubblewrapMachine(Machine):
    """A sandbox. Its commands are processes of this computer, which the local machine opens.

    So streams, terminals, signals, killing whole trees, and the removal of all that is left are the
    local machine's business; what is ours is that a command starts inside.
    """

    transports = ("bubblewrap",)
    workdir, state_dir = WORK, STATE

    def __init__(
        self,
        local: LocalMachine,
        sandbox: Sandbox,
        holder: Process | None = None,
        mounted_tools: Mapping[str, str] | None = None,
    ) -> None:
        self.local = local
        self.name = local.name
        self.ref = MachineRef("bubblewrap", local.name, local.ref.data)
        self._sandbox = sandbox
        self._holder = holder
        self.mounted_tools = mounted_tools or {}

    @property
    def door(self) -> Path:
        """The folder of this computer that is ``state_dir`` in the sandbox."""
        return Path(self.local.state_dir, "state")

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``. A sandbox has one user: the program's own."""
        self._check_user(user)
        words = [SHELL, "-c", command] if isinstance(command, str) else list(command)
        folder = posixpath.join(self.workdir, cwd or "")
        about = (str(self._sandbox.pid), str(self._sandbox.namespace), folder)
        process = await self.local.open_process(
            [sys.executable, "-I", "-S", str(ENTER), *about, *words],
            env={"COMMAND_ENV": json.dumps(dict(env or {}))},
            pty=pty,
        )
        try:
            self._check_started(await _first_line(process))
        except BaseException:
            await process.aclose()
            raise
        return process

    async def destroy(self) -> None:
        """See ``Machine.destroy``. The sandbox is among what the local machine has started."""
        await self.local.destroy()
        if self._holder is not None:
            await self._holder.aclose()

    # --8<-- [end:machine]

    def _check_user(self, user: str | None) -> None:
        me = pwd.getpwuid(os.getuid())
        if user not in (None, me.pw_name, str(me.pw_uid)):
            raise PermissionError(errno.EPERM, f"a sandbox has no user but {me.pw_name!r}")

    def _check_started(self, line: str) -> None:
        """What ``enter.py`` says first."""
        word, _, about = line.partition(" ")
        if word.isdigit():
            raise OSError(int(word), os.strerror(int(word)), about)
        if word != "ok":
            raise MachineGone("its sandbox has ended", machine=self.name)


async def _first_line(process: Process) -> str:
    """Byte by byte: what follows is the command's."""
    line = b""
    while not line.endswith(b"\n"):
        line += await process.stdout.receive(1)
    return line.decode().strip()
