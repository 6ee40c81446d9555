"""The machine contract: single files."""

from __future__ import annotations

import errno
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from ramure.errors import UsageError
from ramure.machine import Machine
from ramure.testing._contract import Contract, without_a_shell

NAMES = (
    "with space",
    "-n",
    "'q\"",
    "$HOME",
    "*",
    "a\nb",
    "ünï 世界",
    "back\\slash",
    "~",
    "permission denied",
    "n" * 250,
)


class FileContract(Contract):
    """``read_file`` and ``write_file``."""

    @pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", bytes(range(256)) * 5000])
    @without_a_shell
    async def test_bytes_come_back(self, machine: Machine, data: bytes) -> None:
        await machine.write_file("file", data)
        assert await machine.read_file("file") == data
        assert (await machine.exec(["cat", "file"])).stdout_bytes == data

    @without_a_shell
    async def test_text_is_utf8(self, machine: Machine) -> None:
        await machine.write_file("file", "ünï — 世界\n")
        assert await machine.read_file("file") == "ünï — 世界\n".encode()

    @pytest.mark.parametrize("name", NAMES)
    @without_a_shell
    async def test_any_name_will_do(self, machine: Machine, name: str) -> None:
        await machine.write_file(f"in/{name}", "x")
        assert await machine.read_file(f"in/{name}") == b"x"
        assert await self.names(machine, "in") == [name]

    @without_a_shell
    async def test_paths_are_under_workdir(self, machine: Machine) -> None:
        await machine.write_file("file", "x")
        assert await machine.read_file(f"{machine.workdir}/file") == b"x"

    @without_a_shell
    async def test_folders_are_made(self, machine: Machine) -> None:
        await machine.write_file("a/b c/d", "x")
        assert await machine.read_file("a/b c/d") == b"x"

    async def test_the_mode(self, machine: Machine) -> None:
        await machine.write_file("file", "#!/bin/sh\necho ran\n", mode=0o750)
        assert await self.mode(machine, "file") == "-rwxr-x---"
        assert (await machine.exec(["./file"])).stdout == "ran\n"

    async def test_the_mode_by_default(self, machine: Machine) -> None:
        await machine.exec(": > other")
        await machine.write_file("file", "x", mode=0o700)
        await machine.write_file("file", "y")
        assert await self.mode(machine, "file") == await self.mode(machine, "other")

    @without_a_shell
    async def test_replacing_leaves_nothing_else(self, machine: Machine) -> None:
        for text in ("one", "a longer one", "2"):
            await machine.write_file("in/file", text)
            assert await machine.read_file("in/file") == text.encode()
        assert await self.names(machine, "in") == ["file"]

    async def test_a_reader_keeps_the_file_it_opened(self, machine: Machine) -> None:
        await machine.write_file("file", "old")
        reader = "exec 3<file; echo; read -r _; exec cat <&3"
        async with await machine.open_process(reader) as process:
            assert await process.stdout.receive() == b"\n"
            await machine.write_file("file", "new and long")
            await process.stdin.aclose()
            assert b"".join([piece async for piece in process.stdout]) == b"old"
        assert (await machine.exec("cat file")).stdout == "new and long"

    async def test_a_link_is_replaced(self, machine: Machine) -> None:
        await machine.write_file("target", "kept")
        await machine.exec(["ln", "-s", "target", "link"], check=True)
        assert await machine.read_file("link") == b"kept"
        await machine.write_file("link", "new")
        assert await machine.read_file("target") == b"kept"
        assert await machine.read_file("link") == b"new"

    async def test_a_folder_is_no_file(self, machine: Machine) -> None:
        await machine.exec("mkdir folder; ln -s folder link", check=True)
        for path in ("folder", "folder/", "link"):
            with pytest.raises(IsADirectoryError):
                await machine.write_file(path, "x")
            with pytest.raises(IsADirectoryError):
                await machine.read_file(path)
        assert await self.names(machine, "folder") == []

    @without_a_shell
    async def test_what_is_not_there(self, machine: Machine) -> None:
        for path in ("missing", "missing/file"):
            with pytest.raises(FileNotFoundError, match=path):
                await machine.read_file(path)

    @without_a_shell
    async def test_a_file_is_no_folder(self, machine: Machine) -> None:
        await machine.write_file("file", "x")
        with pytest.raises(OSError, match="file"):
            await machine.write_file("file/in/it", "x")
        assert await machine.read_file("file") == b"x"

    async def test_what_is_forbidden(self, machine: Machine) -> None:
        self.needs("forbidden")
        with pytest.raises(PermissionError):
            await machine.read_file(f"{self.forbidden}/x")
        with pytest.raises(PermissionError):
            await machine.write_file(f"{self.forbidden}/x", "x")

    @without_a_shell
    async def test_what_is_too_large(self, machine: Machine) -> None:
        await machine.write_file("file", b"x" * 1001)
        assert len(await machine.read_file("file", max_bytes=1001)) == 1001
        with pytest.raises(OSError, match="max_bytes=1000") as caught:
            await machine.read_file("file", max_bytes=1000)
        assert caught.value.errno == errno.EFBIG

    @pytest.mark.parametrize("path", ["", "a\0b"])
    @without_a_shell
    async def test_what_is_no_path(self, machine: Machine, path: str) -> None:
        with pytest.raises(UsageError):
            await machine.read_file(path)
        with pytest.raises(UsageError):
            await machine.write_file(path, "x")

    @without_a_shell
    async def test_many_writers_one_whole_file(self, machine: Machine) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(machine.write_file, "in/file", f"{number}" * 200_000)
        data = await machine.read_file("in/file")
        assert len(data) == 200_000
        assert len(set(data)) == 1
        assert await self.names(machine, "in") == ["file"]

    async def mode(self, machine: Machine, path: str) -> str:
        """As ``ls -l`` shows it."""
        if not self.shell:
            async with _copied(machine, path) as copy:
                return stat.filemode(copy.stat().st_mode)
        shown = (await machine.exec(["ls", "-ld", path], check=True)).stdout
        return shown.split()[0].rstrip(".+@")

    async def names(self, machine: Machine, folder: str) -> list[str]:
        """Everything in a folder, hidden files too, sorted."""
        if not self.shell:
            async with _copied(machine, folder) as copy:
                return sorted(path.name for path in copy.iterdir())
        script = (
            'cd "$0" && for f in * .*; do [ -e "$f" -o -L "$f" ] && printf "%s\\0" "$f"; done; :'
        )
        shown = (await machine.exec(["sh", "-c", script, folder], check=True)).stdout
        return sorted(set(shown.split("\0")[:-1]) - {".", ".."})


@asynccontextmanager
async def _copied(machine: Machine, path: str) -> AsyncIterator[Path]:
    """A copy here of what is there, where no program there could say what it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        await machine.download(path, copy)
        yield copy
