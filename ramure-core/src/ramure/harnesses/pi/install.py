"""Installs pi, and a Node.js where the system's is missing or too old, under ``~/.ramure/tools``.

npm installs exactly what the shipped lock file names, into a temporary folder that then gets its
final name, so that a broken installation is never seen. Two programs that need it at once: one
installs, the other waits for a lock that the kernel releases when its holder ends.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path

import anyio

from ramure import paths
from ramure._home import used_home
from ramure.errors import AgentStartFailed
from ramure.harnesses.pi import toolset
from ramure.harnesses.pi.toolset import PiPackage, Progress

VERSION = "0.87.1"
NODE_NEEDED = (22, 19)
NODE_VERSION = "22.23.3"
FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error")
NPM_WITHIN = 900.0
"""Seconds that npm may take: some 200 MB over a slow line."""
POLL = 0.2
"""Seconds between two attempts to get the lock."""


def places() -> list[Path]:
    """Where pi may have been installed: packages' folders, which need not exist."""
    return [
        paths.tools() / _key(with_node=with_node) / "node_modules" / toolset.PACKAGE
        for with_node in (False, True)
    ]


async def install(progress: Progress) -> tuple[PiPackage, Path]:
    """Install pi and give it with its Node.js.

    Raises:
        AgentStartFailed: npm is missing or failed; the message holds what npm said.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise AgentStartFailed("; ".join(map(str, toolset.cannot_install())))
    with used_home():
        tools = paths.make_private(paths.tools())
    async with _lock(tools / "pi.lock", progress):
        found = await toolset.find()
        if found is not None:
            return found
        on_path = shutil.which("node")
        version = await toolset.node_version(Path(on_path)) if on_path else ()
        with_node = version < NODE_NEEDED
        progress(f"installing pi {VERSION} into {tools} (once; some 200 MB)")
        await _install(npm, tools / _key(with_node=with_node), with_node=with_node)
        found = await toolset.find()
    if found is None:
        raise AgentStartFailed(f"pi was installed into {tools}, but does not run there")
    progress(f"installed pi {VERSION}")
    return found


async def _install(npm: str, target: Path, *, with_node: bool) -> None:
    for stale in target.parent.glob(".pi-*"):
        await anyio.to_thread.run_sync(partial(shutil.rmtree, stale, ignore_errors=True))
    building = Path(tempfile.mkdtemp(prefix=".pi-", dir=target.parent))
    try:
        shipped = files("ramure.harnesses.pi") / "npm"
        for name in ("package.json", "package-lock.json"):
            (building / name).write_bytes((shipped / name).read_bytes())
        await _npm(npm, building, "ci")
        if with_node:
            await _npm(npm, building, "install", "--no-save", f"{_node_package()}@{NODE_VERSION}")
        await anyio.to_thread.run_sync(partial(shutil.rmtree, target, ignore_errors=True))
        await anyio.Path(building).rename(target)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, building, ignore_errors=True))


async def _npm(npm: str, folder: Path, *command: str) -> None:
    try:
        with anyio.fail_after(NPM_WITHIN):
            done = await anyio.run_process(
                [npm, *command, *FLAGS], cwd=folder, stdin=subprocess.DEVNULL, check=False
            )
    except TimeoutError:
        raise AgentStartFailed(
            f"pi could not be installed: npm {command[0]} did not end within {NPM_WITHIN:g} s"
        ) from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise AgentStartFailed(f"pi could not be installed: npm {command[0]} failed:\n{said}")


@asynccontextmanager
async def _lock(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold a lock that the kernel releases, waiting for it without blocking the loop."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress("another program is installing pi; waiting for it")
                    told = True
                await anyio.sleep(POLL)
        yield
    finally:
        os.close(descriptor)


def _system() -> tuple[str, str]:
    machine = platform.machine().lower()
    arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return ("darwin" if sys.platform == "darwin" else "linux"), arch


def _key(*, with_node: bool) -> str:
    node = f"-node-{NODE_VERSION}" if with_node else ""
    return "-".join([f"pi-{VERSION}{node}", *_system()])


def _node_package() -> str:
    """The npm package that holds the binary which npm's ``node`` package would fetch by script."""
    system, arch = _system()
    prefix = "node-bin" if (system, arch) == ("darwin", "arm64") else "node"
    return f"{prefix}-{system}-{arch}"
