"""Images as folders of layers, and building them from what the SDK sends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
EMPTY = (
    "dev",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "usr",
    "var/tmp",
    "var/lib",
)
ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "nsswitch.conf",
    "ssl",
    "terminfo",
    "alternatives",
)
BARE = ("/usr/bin/node", "/usr/bin/tmux", "/usr/local/bin/node", "/usr/local/bin/tmux")
"""What an image lacks whose tag has ``bare`` in it."""


class BuildFailed(Exception):
    """With the log."""


@dataclass(frozen=True)
class Image:
    """Layers, the topmost first, and what commands in it start with."""

    id: str
    layers: tuple[str, ...]
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    workdir: str = "/root"
    hidden: tuple[str, ...] = ()


def make_base(folder: Path) -> None:
    """The bottom of all images: this computer's libraries, and nothing else of it."""
    for name in EMPTY:
        (folder / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o1777)
    (folder / "root").chmod(0o700)
    for name in MERGED:
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    etc = folder / "etc"
    etc.mkdir()
    for name in ETC:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, etc / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, etc / name)
    (etc / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    (etc / "group").write_text("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    tools = folder / "__modal/.bin/modal-sandbox-fs-tools"
    tools.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("fs_tools.py"), tools)
    tools.chmod(0o755)


def digest(*parts: bytes) -> str:
    """A short name for what was made of these."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


class Builder:
    """Follows a Dockerfile, as far as tests need it."""

    def __init__(self, store, target: str, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.target = target
        self.log: list[str] = []

    async def build(self, commands, bases, context) -> Image:
        """Args: instructions, images by the names that FROM has for them, files by their paths."""
        self.folder.mkdir(parents=True)
        image = None
        for command in commands:
            self.log.append(f"=> {command}\n")
            word, _, rest = command.strip().partition(" ")
            match word.upper():
                case "FROM":
                    image = self._from(rest.split()[0], bases)
                case "COPY":
                    self._copy(rest, context)
                case "ENV":
                    name, _, value = rest.replace("=", " ", 1).partition(" ")
                    value = shlex.split(value)[0] if value else ""
                    image = replace(image, env={**image.env, name: value})
                case "WORKDIR":
                    image = replace(image, workdir=rest.strip().strip("'\""))
                    (self.folder / image.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "RUN":
                    await self._run(image, rest)
        return image

    def _from(self, tag: str, bases) -> Image:
        parent = bases.get(tag) or self.store.pull(tag)
        if parent is None:
            self.log.append(f"{tag}: not found: manifest unknown\n")
            raise BuildFailed("".join(self.log))
        return replace(parent, id=self.target, layers=(str(self.folder), *parent.layers))

    def _copy(self, rest: str, context) -> None:
        source, target = shlex.split(rest)
        folder = source.removesuffix(".")
        for path, (content, mode) in context.items():
            if path.startswith(folder) or folder == "/":
                relative = path.removeprefix(folder.rstrip("/"))
                place = self.folder / target.lstrip("/") / relative.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                try:
                    os.link(content, place)
                except OSError:
                    shutil.copy(content, place)
                place.chmod(mode or 0o644)

    async def _run(self, image: Image, script: str) -> None:
        from sandbox import Sandbox

        own = replace(image, layers=image.layers[1:])
        sandbox = await Sandbox.start(
            self.target, own, self.folder, self.folder.with_suffix(".run")
        )
        try:
            run = await sandbox.execute("build", ["sh", "-c", f"( {script}\n) 2>&1"], {}, "/", None)
            code = await asyncio.shield(run.ended)
            await run.stdout.until_end()
            self.log.append(bytes(run.stdout.data).decode("utf-8", "replace"))
        finally:
            await sandbox.stop()
        if code:
            self.log.append(f"the command exited with {code}\n")
            raise BuildFailed("".join(self.log))
