"""Tool sets that need no more than a shell, for tests of bringing them."""

from __future__ import annotations

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
        for name in ("bin", "share"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "share/greeting").write_text("hello\n", "utf-8")
        (self.folder / "share/weight").write_bytes(b"\0" * 3_000_000)
        (self.folder / "bin/greet").write_text(GREET, "utf-8")
        (self.folder / "bin/greet").chmod(0o755)
        (self.folder / "bin/hello").unlink(missing_ok=True)
        (self.folder / "bin/hello").symlink_to("greet")


class NotToBeHad(Greeter):
    """A tool set that there is for no machine."""

    async def assemble(self, platform: Platform, progress: Progress = tell) -> Path:
        raise ToolSetUnavailable(f"there is none for {platform}: bring your own")
