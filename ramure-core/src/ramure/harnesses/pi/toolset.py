"""What agents need on this computer: pi, a fit Node.js, and tmux.

In this order: what ``$RAMURE_PI`` names, a fit ``pi`` on the PATH, what ramure has installed under
``~/.ramure/tools``, and at last an installation there (``install.py``).

``python -m ramure.harnesses.pi.toolset`` makes it ready and prints where it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from ramure.errors import AgentStartFailed, ToolSetUnavailable
from ramure.toolset import Progress, tell
from ramure.values import Problem

TESTED = ("0.74.2", "0.87.1")
"""Versions of pi that the tests run with; a ``pi`` on the PATH is used only between the two."""

PACKAGE = "@earendil-works/pi-coding-agent"

NODE_WITHIN = 30.0
"""Seconds in which a Node.js says its version."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the tools are *on the machine*: absolute paths there.

    Attributes:
        node: the Node.js that pi is started with.
        cli: pi's entry point, a JavaScript file.
        version: pi's version.
        tmux: the tmux that pi runs in.
    """

    node: str
    cli: str
    version: str
    tmux: str

    def at_least(self, *version: int) -> bool:
        """Whether pi's version is this one or a later one."""
        return numbers(self.version) >= version


@dataclass(frozen=True, slots=True)
class PiPackage:
    """An installed pi on this computer: its entry point, its version, and the Node.js it needs."""

    cli: Path
    version: str
    node: str


def numbers(version: str) -> tuple[int, ...]:
    """``"v22.19.0"`` as ``(22, 19, 0)``, to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


async def ensure(progress: Progress = tell) -> Tools:
    """The tool set of this computer, installed first where it is missing.

    Args:
        progress: is told what happens, in words, where it takes a while.

    Raises:
        AgentStartFailed: something is missing and cannot be installed; the message says what to do.
    """
    from ramure.harnesses.pi import install

    tmux = find_tmux()
    found = await find()
    if found is None:
        found = await install.install(progress)
    package, node = found
    return Tools(str(node), str(package.cli), package.version, tmux)


async def find() -> tuple[PiPackage, Path] | None:
    """The pi that is already on this computer, with its Node.js; None where there is none.

    Raises:
        AgentStartFailed: ``$RAMURE_PI`` names something that cannot be used.
    """
    for package in packages():
        node = await find_node(package)
        if node is not None:
            return package, node
        if named := os.environ.get("RAMURE_PI"):
            raise AgentStartFailed(
                f"RAMURE_PI={named} is pi {package.version}, which needs Node.js {package.node}: "
                "put one on the PATH"
            )
    return None


def packages() -> Iterator[PiPackage]:
    """Every fit pi on this computer, best first, whether there is a Node.js for it or not.

    Raises:
        AgentStartFailed: ``$RAMURE_PI`` names something that cannot be used.
    """
    from ramure.harnesses.pi import install

    if named := os.environ.get("RAMURE_PI"):
        package = read_package(Path(named))
        if package is None:
            raise AgentStartFailed(f"RAMURE_PI={named} is no pi (nor a folder with one)")
        yield package
        return
    on_path = shutil.which("pi")
    for path in (*([Path(on_path)] if on_path else []), *install.places()):
        package = read_package(path)
        if package is not None and is_tested(package.version):
            yield package


def cannot_install() -> list[Problem]:
    """What keeps pi from being installed on this computer."""
    if shutil.which("npm"):
        return []
    return [
        Problem(
            "pi is not installed, and there is no npm to install it with",
            f"install Node.js 22 or newer, or pi itself: npm install -g {PACKAGE}@{TESTED[-1]}",
        )
    ]


def is_tested(version: str) -> bool:
    """Whether this version lies between the tested ones (any patch of the last counts)."""
    low, high = (numbers(tested) for tested in TESTED)
    return low <= numbers(version) and numbers(version)[:2] <= high[:2]


def find_tmux() -> str:
    """The tmux of this computer. Raises ``AgentStartFailed`` where there is none."""
    found = shutil.which("tmux")
    if found is None:
        raise AgentStartFailed(
            "tmux is not installed: install it with the system's package manager "
            "(apt install tmux, dnf install tmux, brew install tmux)"
        )
    return found


def read_package(path: Path) -> PiPackage | None:
    """The pi whose executable, entry point or folder ``path`` is; None where it is none."""
    resolved = path.resolve()
    for folder in (resolved, *resolved.parents):
        try:
            data = json.loads((folder / "package.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if data.get("name") != PACKAGE:
            continue
        cli = folder / data["bin"]["pi"]
        node = str(data.get("engines", {}).get("node", ">=20.6.0"))
        return PiPackage(cli, str(data["version"]), node) if cli.is_file() else None
    return None


async def find_node(package: PiPackage, *, on_path: bool = True) -> Path | None:
    """A Node.js that this pi runs with: one installed beside it, else the one on the PATH."""
    modules = next((p for p in package.cli.parents if p.name == "node_modules"), None)
    beside = sorted(modules.glob("node*/bin/node")) if modules else []
    known = shutil.which("node") if on_path else None
    for node in (*beside, *([Path(known)] if known else [])):
        if await node_version(node) >= numbers(package.node):
            return node.resolve()
    return None


async def node_version(node: Path) -> tuple[int, ...]:
    """What this Node.js says its version is; ``()`` where it does not run.

    Raises:
        AgentStartFailed: it says nothing.
    """
    try:
        with anyio.fail_after(NODE_WITHIN):
            done = await anyio.run_process([str(node), "--version"], check=False)
    except TimeoutError:
        raise AgentStartFailed(f"{node} --version says nothing within {NODE_WITHIN:g} s") from None
    except OSError:
        return ()
    return numbers(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else ()


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(anyio.run(ensure)), indent=2))  # noqa: T201 it is a command
    except (AgentStartFailed, ToolSetUnavailable) as error:
        sys.exit(f"ramure: {error}")
