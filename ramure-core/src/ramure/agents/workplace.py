"""Where an agent works: its machine, by paths and from the folder as the agent means them."""

from __future__ import annotations

from typing import Any

from ramure.agents.settings import AgentSettings
from ramure.machine import Command, LocalPath, Machine
from ramure.values import ExecResult


class Workplace:
    """An agent's commands and files."""

    machine: Machine
    settings: AgentSettings

    async def exec(self, command: Command, **options: Any) -> ExecResult:
        """Run a command on the agent's machine, in its working directory; see ``Machine.exec``."""
        options.setdefault("cwd", self.settings.cwd)
        return await self.machine.exec(command, **options)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """Copy a file or folder from this computer to the agent's machine."""
        await self.machine.upload(local, self.path(remote))

    async def download(self, remote: str, local: LocalPath) -> None:
        """Copy a file or folder from the agent's machine to this computer."""
        await self.machine.download(self.path(remote), local)

    async def read_file(self, path: str) -> bytes:
        """Read a file on the agent's machine; a relative path is under its working directory."""
        return await self.machine.read_file(self.path(path))

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """Write a file on the agent's machine; ``mode`` is as for ``Machine.write_file``."""
        await self.machine.write_file(self.path(path), data, mode=mode)

    def path(self, path: str) -> str:
        """A path as the agent means it: relative to its own working directory."""
        if path.startswith("/") or not self.settings.cwd:
            return path
        return f"{self.settings.cwd.rstrip('/')}/{path}"
