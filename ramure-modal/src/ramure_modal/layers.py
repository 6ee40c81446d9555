"""A tool set as layers of an image: one file that holds all of it, unpacked by the build.

One file, because what is added file by file loses links and takes thousands of calls. It comes out
the same wherever it is packed, so that Modal builds the layers once.
"""

from __future__ import annotations

import secrets
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ramure import paths
from ramure._work import in_thread
from ramure.errors import ToolSetUnavailable
from ramure.toolset import Platform, ToolSet
from ramure_modal.sandbox import TOOLS

if TYPE_CHECKING:
    import modal

PLATFORM = Platform("linux", "x86_64", "glibc")
"""What Modal runs, and what most images are made for. Where one is not, the layers are not used."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A tool set, packed into a file here."""

    name: str
    key: str
    file: Path
    node_in_it: str

    @property
    def folder(self) -> str:
        """Where it is in the image."""
        return f"{TOOLS}/{self.key}"

    @property
    def node(self) -> str:
        """Its Node.js there."""
        return f"{self.folder}/{self.node_in_it}"


async def pack(tools: ToolSet) -> Packed | None:
    """Pack a tool set, once; None where it cannot be had."""
    try:
        source = await tools.assemble(PLATFORM)
    except ToolSetUnavailable:
        return None
    key = tools.key(PLATFORM)
    target = paths.tools() / "modal" / f"{key}.tar"
    await in_thread(partial(_pack, source, target), pool="transfers")
    return Packed(tools.name, key, target, tools.node)


def add(image: modal.Image, packed: Packed) -> modal.Image:
    """The image with the tool set in it."""
    there = f"/opt/ramure/{packed.key}.tar"
    return image.add_local_file(packed.file, there, copy=True).run_commands(
        f"mkdir -p {packed.folder} && tar -xf {there} -C {packed.folder} && rm {there}"
    )


def _pack(source: Path, target: Path) -> None:
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    paths.make_private(target.parent)
    new = target.with_suffix(f".{secrets.token_hex(4)}")  # two runs of a program may pack at once
    try:
        with tarfile.open(new, "w", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(source.rglob("*")):
                name = str(path.relative_to(source))
                archive.add(path, name, recursive=False, filter=_plain)
        new.rename(target)
    finally:
        new.unlink(missing_ok=True)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry
