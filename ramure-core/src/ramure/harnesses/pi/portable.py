"""The tool set of the pi harness for machines elsewhere: pi, Node.js and tmux, in one folder.

    bin/node, bin/tmux      start them
    lib/                    both, with the C library of the computer that the set was made on
    lib/node_modules/       pi, and the packages that it needs
    share/                  terminals, and a locale with UTF-8, for tmux
    pi.json                 pi's entry point and version

Programs come from this computer where it is a Linux of the machine's architecture, and run there on
any C library. For other machines npm has a Node.js, which needs a C library like its own; tmux must
be there, then.
"""

from __future__ import annotations

import json
import shutil
from functools import cached_property, partial
from pathlib import Path

import anyio

from ramure._work import in_thread
from ramure.errors import AgentStartFailed, ToolSetUnavailable
from ramure.harnesses.pi import install, modules, programs, toolset
from ramure.harnesses.pi.toolset import PACKAGE, PiPackage
from ramure.machine import Machine
from ramure.toolset import Platform, Progress, ToolSet, made_once, tell

RECIPE = 1
"""How the folder is made; one more whenever that changes."""


class PiToolSet(ToolSet):
    """What pi needs: the pi of this computer, or the one that would be installed here."""

    @cached_property
    def version(self) -> str:
        """The version of pi."""
        package = next(toolset.packages(), None)
        return package.version if package else install.VERSION

    @cached_property
    def name(self) -> str:  # type: ignore[override]  # known once it is asked for
        """See ``ToolSet.name``."""
        return f"pi-{self.version}-{RECIPE}"

    async def look(self, machine: Machine) -> bool:
        """See ``ToolSet.look``."""
        from ramure.harnesses.pi import remote

        try:
            await remote.find(machine)
        except AgentStartFailed:
            return False
        return True

    async def assemble(self, platform: Platform, progress: Progress = tell) -> Path:
        """See ``ToolSet.assemble``."""
        try:
            return await made_once(
                self.key(platform), partial(_fill, platform=platform, progress=progress), progress
            )
        except (AgentStartFailed, programs.CannotBeCopied) as error:
            raise ToolSetUnavailable(
                f"pi cannot be brought to a machine of the kind {platform}: {error}. Put it there: "
                f"Node.js 22, tmux, and npm install -g {PACKAGE}@{self.version}"
            ) from error


async def _fill(folder: Path, *, platform: Platform, progress: Progress) -> None:
    package = next(toolset.packages(), None) or (await install.install(progress))[0]
    progress(f"assembling pi {package.version} for machines of the kind {platform} (once)")
    own = _is_own(platform)
    if not own and platform.libc == "musl":
        raise programs.CannotBeCopied("Node.js of npm needs glibc, and it has musl")
    await _put_node(package, platform, folder, own=own)
    await in_thread(lambda: _put_pi(package, platform, folder, own=own), pool="tools")


def _is_own(platform: Platform) -> bool:
    """Whether this computer's programs run on such machines, with the libraries they need here."""
    own = install.own_platform()
    return (own.system, own.arch, own.libc) == ("linux", platform.arch, "glibc") and (
        platform.system == "linux"
    )


async def _put_node(package: PiPackage, platform: Platform, folder: Path, *, own: bool) -> None:
    bin_, lib = folder / "bin", folder / "lib"
    for made in (bin_, lib):
        await anyio.Path(made).mkdir()
    if not own:
        await install.get_node(platform, bin_ / "node")
        return
    node = await toolset.find_node(package, on_path=False)
    if node is None:
        node = lib / "node"
        await install.get_node(platform, node)
    await in_thread(lambda: programs.copy(node, "node", folder), pool="tools")
    await in_thread(lambda: programs.put_script("node.cjs", lib / "node.cjs"), pool="tools")


def _put_pi(package: PiPackage, platform: Platform, folder: Path, *, own: bool) -> None:
    source = next(above for above in package.cli.parents if (above / "package.json").is_file())
    target = folder / "lib" / "node_modules"
    placed = modules.copy(source, PACKAGE, target, "-".join(install.node_names(platform)))
    cli = placed / package.cli.relative_to(source)
    about = {
        "cli": str(cli.relative_to(folder)),
        "version": package.version,
        "tmux": own and _put_tmux(folder),
    }
    (folder / "pi.json").write_text(json.dumps(about), "utf-8")


def _put_tmux(folder: Path) -> bool:
    """Put this computer's tmux into the folder; False where that cannot be: it must be there."""
    tmux = shutil.which("tmux")
    if tmux is None:
        return False
    try:
        programs.copy_locale(folder / "share" / "locale")
        programs.copy_terminals(folder / "share" / "terminfo")
        programs.copy(Path(tmux).resolve(), "tmux", folder)
    except programs.CannotBeCopied:
        return False
    return True
