"""Tool sets that need no more than a shell, for tests of bringing them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import anyio

from ramure.errors import ToolSetUnavailable
from ramure.machine import Machine
from ramure.toolset import Platform, Progress, ToolSet, tell

GREET = '#!/bin/sh\ncat "$(dirname "$0")/../share/greeting"\n'


class Greeter(ToolSet):
    """A tool set of one program, which finds its data beside itself."""

    def __init__(self, folder: Path, *, name: str, there: bool = False) -> None:
        self.name = name
        self.folder = folder
        self.there = there
        self.platforms: list[Platform] = []

    async def look(self, machine: Machine) -> bool:
        await machine.exec(["true"], check=True)
        return self.there

    async def assemble(self, platform: Platform, progress: Progress = tell) -> Path:
        self.platforms.append(platform)
        await anyio.to_thread.run_sync(self._write)
        return self.folder

    def _write(self) -> None:
        """Make the folder, whole or not at all: several may want it at once."""
        if self.folder.is_dir() and any(self.folder.iterdir()):
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".greeter-", dir=self.folder.parent))
        for name in ("bin", "share"):
            (making / name).mkdir()
        (making / "share/greeting").write_text("hello\n", "utf-8")
        (making / "share/weight").write_bytes(b"\0" * 3_000_000)
        (making / "bin/greet").write_text(GREET, "utf-8")
        (making / "bin/greet").chmod(0o755)
        (making / "bin/hello").symlink_to("greet")
        making.chmod(0o755)
        try:
            making.rename(self.folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(making)


class NotToBeHad(Greeter):
    """A tool set that there is for no machine."""

    async def assemble(self, platform: Platform, progress: Progress = tell) -> Path:
        raise ToolSetUnavailable(f"there is none for {platform}: bring your own")
