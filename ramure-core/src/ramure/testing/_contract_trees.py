"""The machine contract: files and folders of any size, to and from this computer and each other."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import anyio
import pytest

from ramure.errors import UnsafePath
from ramure.machine import Machine
from ramure.testing._contract import without_a_shell
from ramure.testing._contract_files import FileContract
from ramure.trees import copy

NAMES = ("with space", "-n", "'q\"", "a\nb", "ünï 世界", "back\\slash", "n" * 200)
BOUND = 20_000_000
"""Bytes of memory that a transfer of any size may take."""


class TreeContract(FileContract):
    """``upload``, ``download`` and ``ramure.trees.copy``."""

    # --- files

    @without_a_shell
    async def test_a_file_goes_up_and_comes_down(self, machine: Machine, folder: Path) -> None:
        data = os.urandom(3_000_000)
        (folder / "one").write_bytes(data)
        (folder / "one").chmod(0o750)
        await machine.upload(folder / "one", "in/two")
        assert await machine.read_file("in/two") == data
        assert await self.mode(machine, "in/two") == "-rwxr-x---"
        await machine.download("in/two", folder / "new/three")
        assert (folder / "new/three").read_bytes() == data
        assert (folder / "new/three").stat().st_mode & 0o777 == 0o750
        assert await self.names(machine, "in") == ["two"]
        assert _names(folder / "new") == ["three"]

    @without_a_shell
    async def test_an_empty_file(self, machine: Machine, folder: Path) -> None:
        (folder / "empty").touch()
        await machine.upload(folder / "empty", "empty")
        await machine.download("empty", folder / "back")
        assert (folder / "back").read_bytes() == b""

    async def test_memory_is_bounded(self, machine: Machine, folder: Path) -> None:
        (folder / "tree").mkdir()
        with (folder / "tree/big").open("wb") as file:
            file.truncate(self.big)
        tracemalloc.start()
        try:
            await machine.upload(folder / "tree/big", "big")
            await machine.download("big", folder / "back")
            await machine.upload(folder / "tree", "tree")
            await machine.download("tree", folder / "tree back")
            assert await copy(machine, "big", machine, "copy") == self.big
            assert tracemalloc.get_traced_memory()[1] < min(BOUND, self.big)
        finally:
            tracemalloc.stop()
        assert (folder / "back").stat().st_size == self.big
        assert (folder / "tree back/big").stat().st_size == self.big
        assert (await machine.exec("wc -c <copy")).stdout.strip() == str(self.big)

    async def test_a_file_is_never_put_into_a_folder(self, machine: Machine, folder: Path) -> None:
        (folder / "file").write_text("x")
        (folder / "there").mkdir()
        await machine.exec("mkdir there; echo x >file", check=True)
        with pytest.raises(IsADirectoryError):
            await machine.upload(folder / "file", "there")
        with pytest.raises(IsADirectoryError):
            await machine.download("file", folder / "there")

    async def test_what_is_missing(self, machine: Machine, folder: Path) -> None:
        (folder / "kept").write_text("kept")
        await machine.write_file("kept", "kept")
        with pytest.raises(FileNotFoundError):
            await machine.upload(folder / "missing", "kept")
        with pytest.raises(FileNotFoundError):
            await machine.download("missing", folder / "kept")
        with pytest.raises(FileNotFoundError):
            await copy(machine, "missing", machine, "kept")
        assert (folder / "kept").read_text() == "kept"
        assert await machine.read_file("kept") == b"kept"

    async def test_a_cancelled_upload_leaves_nothing(self, machine: Machine, folder: Path) -> None:
        with (folder / "big").open("wb") as file:
            file.truncate(self.big * 20)
        await machine.write_file("in/file", "old")
        with anyio.move_on_after(0.1) as scope:
            await machine.upload(folder / "big", "in/file")
        if scope.cancelled_caught:
            assert await machine.read_file("in/file") == b"old"
        assert await self.names(machine, "in") == ["file"]

    # --- folders

    async def test_a_tree_goes_up(self, machine: Machine, folder: Path) -> None:
        _plant(folder / "tree")
        await machine.upload(folder / "tree", "up/here")
        for name in NAMES:
            assert await machine.read_file(f"up/here/deep/{name}") == name.encode()
        assert await self.names(machine, "up/here") == _names(folder / "tree")
        assert await self.mode(machine, "up/here") == "drwxr-x--x"
        assert await self.mode(machine, "up/here/run") == "-rwxr-x--x"
        assert await self.mode(machine, "up/here/locked") == "dr-xr-x---"
        for link in ("link", "dangling", "outward"):
            shown = await machine.exec(["readlink", f"up/here/{link}"], check=True)
            assert shown.stdout.strip() == str((folder / "tree" / link).readlink())

    @without_a_shell
    async def test_a_tree_comes_down(self, machine: Machine, folder: Path) -> None:
        _plant(folder / "tree")
        (folder / "tree/outward").unlink()
        await machine.upload(folder / "tree", "tree")
        await machine.download("tree", folder / "down/here")
        assert _seen(folder / "down/here") == _seen(folder / "tree")

    @without_a_shell
    async def test_an_empty_folder(self, machine: Machine, folder: Path) -> None:
        (folder / "empty").mkdir()
        await machine.upload(folder / "empty", "empty")
        await machine.download("empty", folder / "back")
        assert (folder / "back").is_dir()

    @without_a_shell
    async def test_a_folder_that_is_there_keeps_the_rest(
        self, machine: Machine, folder: Path
    ) -> None:
        for root in ("one", "two"):
            (folder / root / "in").mkdir(parents=True)
            (folder / root / "in" / root).write_text(root)
            (folder / root / "both").write_text(root)
            await machine.upload(folder / root, "both")
        assert await self.names(machine, "both/in") == ["one", "two"]
        assert await machine.read_file("both/both") == b"two"
        await machine.download("both", folder / "one")
        assert _names(folder / "one/in") == ["one", "two"]
        assert (folder / "one/both").read_text() == "two"

    @without_a_shell
    async def test_the_working_directory_itself(self, machine: Machine, folder: Path) -> None:
        (folder / "file").write_text("x")
        before = await self.mode(machine, ".")
        await machine.upload(folder, ".")
        assert await machine.read_file("file") == b"x"
        assert await self.mode(machine, ".") == before

    async def test_a_folder_is_no_file_and_a_file_no_folder(
        self, machine: Machine, folder: Path
    ) -> None:
        (folder / "tree").mkdir()
        (folder / "file").write_text("kept")
        await machine.write_file("file", "kept")
        await machine.exec("mkdir tree")
        with pytest.raises(OSError, match="file"):
            await machine.upload(folder / "tree", "file")
        with pytest.raises(NotADirectoryError):
            await machine.download("tree", folder / "file")
        assert (folder / "file").read_text() == "kept"
        assert await machine.read_file("file") == b"kept"

    @pytest.mark.parametrize(
        "evil",
        [
            "ln -s /etc/passwd evil/link",
            "ln -s .. evil/link",
            "ln -s ../evil2 evil/link",
            "ln -s s/t/u/../../x evil/a; mkdir -p evil/s/t; ln -s .. evil/s/t/u",
            "mkfifo evil/pipe",
        ],
    )
    async def test_nothing_leaves_its_folder(
        self, machine: Machine, folder: Path, evil: str
    ) -> None:
        await machine.exec(f"mkdir evil && {evil}", check=True)
        with pytest.raises(UnsafePath):
            await machine.download("evil", folder / "down")
        assert _names(folder) == []

    async def test_a_link_that_is_there_is_not_written_through(
        self, machine: Machine, folder: Path
    ) -> None:
        await machine.exec("mkdir -p tree/in; echo evil >tree/in/file; echo new >tree/top")
        (folder / "outside").mkdir()
        (folder / "precious").write_text("kept")
        (folder / "down").mkdir()
        (folder / "down/in").symlink_to("../outside")
        (folder / "down/top").symlink_to("../precious")
        with pytest.raises(UnsafePath):
            await machine.download("tree", folder / "down")
        assert _names(folder / "outside") == []
        assert (folder / "precious").read_text() == "kept"

    # --- between machines

    async def test_a_copy(self, machine: Machine) -> None:
        await machine.write_file("one", b"\0\xff" * 500_000, mode=0o750)
        assert await copy(machine, "one", machine, "in/two") == 1_000_000
        assert await machine.read_file("in/two") == b"\0\xff" * 500_000
        assert await self.mode(machine, "in/two") == "-rwxr-x---"
        assert await self.names(machine, "in") == ["two"]

    async def test_a_copy_of_a_folder(self, machine: Machine) -> None:
        await machine.exec(
            "mkdir -p one/a; echo 1234 >one/a/f; ln -s a one/l; head -c 900000 /dev/zero >one/big"
        )
        assert await copy(machine, "one", machine, "in/two") == 900_005
        assert await machine.read_file("in/two/l/f") == b"1234\n"

    async def test_a_copy_onto_a_folder(self, machine: Machine) -> None:
        await machine.exec("mkdir there; head -c 900000 /dev/zero >file")
        with pytest.raises(IsADirectoryError):
            await copy(machine, "file", machine, "there")
        assert await self.names(machine, "there") == []


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _plant(root: Path) -> None:
    (root / "deep").mkdir(parents=True)
    for name in NAMES:
        (root / "deep" / name).write_text(name)
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o751)
    (root / "hard").hardlink_to(root / "run")
    (root / "link").symlink_to("deep/-n")
    (root / "dangling").symlink_to("nowhere")
    (root / "outward").symlink_to("/etc/hosts")
    (root / "locked").mkdir()
    (root / "locked/file").write_text("x")
    (root / "locked").chmod(0o550)
    (root / "empty").mkdir()
    root.chmod(0o751)


def _seen(root: Path) -> dict[str, tuple[str, str]]:
    def what(path: Path) -> tuple[str, str]:
        if path.is_symlink():
            return "link", str(path.readlink())
        mode = oct(path.stat().st_mode)
        return mode, path.read_text() if path.is_file() else ""

    return {str(path.relative_to(root)): what(path) for path in [root, *root.rglob("*")]}
