"""What ``ramure doctor`` looks at."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from ramure import paths
from ramure._home import unusable_home
from ramure.cli import output
from ramure.errors import AgentStartFailed
from ramure.plugins import Plugins, resolve
from ramure.values import Problem

PATIENCE = 30.0
"""Seconds that one check may take."""

State = Literal["ok", "note", "missing"]
_MARKS: dict[State, str] = {"ok": "ok  ", "note": "note", "missing": "MISS"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``note``: things work, but not as well as they could."""

    check: str
    state: State
    what: str
    cure: str = ""

    def __str__(self) -> str:
        cure = f"\n        {self.cure}" if self.cure else ""
        return f"{_MARKS[self.state]}  {output.bold(self.check)}: {self.what}{cure}"


async def run_checks() -> list[Finding]:
    """Run every check: core's, then those that plugins register."""
    found = [_python(), await _tmux(), await _pi(), _model(), _home(), _sockets(), _leftovers()]
    plugins = Plugins.load()
    for info in plugins.checks().values():
        found += await _registered(info.name, info.load)
    broken = [
        Finding("plugin", "missing", f"{p.plugin}: {p.what}", p.cure) for p in plugins.problems
    ]
    return [*found, *broken]


async def run_named(names: Sequence[str]) -> list[Finding]:
    """Run those checks of plugins that somebody asks for: what is not in use is missing then.

    Raises:
        KeyError: no plugin has a check of this name; the argument says which there are.
    """
    checks = Plugins.load().checks()
    if unknown := [name for name in names if name not in checks]:
        raise KeyError(f"no check is called {unknown[0]!r}: {', '.join(checks) or 'none'}")
    found: list[Finding] = []
    for name in names:
        found += await _registered(name, checks[name].load, wanted=True)
    return found


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


async def _tmux() -> Finding:
    from ramure.harnesses.pi import toolset

    try:
        path = toolset.find_tmux()
    except AgentStartFailed as error:
        return Finding("tmux", "missing", *_split(error.reason))
    said = await anyio.run_process([path, "-V"], check=False)
    version = said.stdout.decode("utf-8", "replace").strip()
    if said.returncode != 0:
        return Finding("tmux", "missing", f"{path} does not run", "install it again")
    return Finding("tmux", "ok", f"{version} ({path})")


async def _pi() -> Finding:
    from ramure.harnesses.pi import toolset

    try:
        found = await toolset.find()
    except AgentStartFailed as error:
        return Finding("pi", "missing", *_split(error.reason))
    if found is not None:
        package, node = found
        return Finding("pi", "ok", f"{package.version} ({package.cli}), node {node}")
    if problems := toolset.cannot_install():
        return Finding("pi", "missing", problems[0].what, problems[0].cure)
    return Finding("pi", "note", "not installed yet; the first agent installs it (about 20 s)")


def _split(reason: str) -> tuple[str, str]:
    """``what: cure`` in two."""
    what, _, cure = reason.partition(": ")
    return what, cure


def _model() -> Finding:
    from ramure.cli.login import find_login

    if login := find_login():
        return Finding("model", "ok", f"pi can use {login}")
    cure = "run `pi` and type /login, or set a provider's key, ANTHROPIC_API_KEY for example"
    return Finding("model", "note", "no model key and no pi login was found", cure)


def _home() -> Finding:
    home = paths.home()
    for folder in (home, paths.runtimes(), paths.logs(), paths.tools()):
        try:
            trouble = _trouble(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            return Finding("home", "missing", str(unusable_home(error)))
        if trouble:
            return Finding("home", "missing", *trouble)
    return Finding("home", "ok", str(home))


def _trouble(folder: Path) -> tuple[str, str] | None:
    """What is wrong with a folder of the home, and the cure.

    Raises:
        FileNotFoundError: it is not there, and can be made.
        OSError: it cannot be used, or not be made.
    """
    try:
        status = folder.stat()
    except FileNotFoundError:
        if folder.is_symlink():
            raise FileExistsError(errno.EEXIST, "it leads nowhere", str(folder)) from None
        _write_into(next(parent for parent in folder.parents if parent.exists()))
        raise
    if status.st_uid != os.getuid():
        return f"{folder} belongs to another user", "set RAMURE_HOME to a folder of your own"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to {folder}", f"chmod go-w {folder}"
    _write_into(folder)
    return None


def _write_into(folder: Path) -> None:
    """See that there is room for a file; nothing stays.

    Raises:
        OSError: of the folder, not of a file in it that nobody knows.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(65_536))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _sockets() -> Finding:
    from ramure.run import short_folder

    wanted = paths.runtimes() / "0123456789" / "agents.sock"
    try:
        actual = paths.socket_path(wanted)
    except OSError as error:
        cure = "set RAMURE_HOME to a shorter path"
        return Finding("sockets", "missing", f"the home's path is too long, and {error}", cure)
    short_folder.leave()
    if actual == wanted:
        return Finding("sockets", "ok", f"in {paths.runtimes()}")
    return Finding("sockets", "ok", f"in {actual.parent}: the home's path is too long for them")


def _leftovers() -> Finding:
    from ramure.run.sweep import dead_runs, runs_elsewhere

    try:
        dead = [folder.name for folder in dead_runs()]
        others = ", ".join(f"{run} ({host})" for run, host in runs_elsewhere().items())
    except OSError as error:
        return Finding("leftovers", "note", f"nobody can tell: {error}")
    if not dead:
        what = f"none of this computer; runs of others: {others}" if others else "none"
        return Finding("leftovers", "ok", what)
    return Finding("leftovers", "note", f"runs that died: {', '.join(dead)}", "ramure gc")


async def _registered(name: str, load: str, *, wanted: bool = False) -> Sequence[Finding]:
    """The findings of a check that a plugin registered; one that breaks is a finding itself."""
    try:
        check: Callable[[], Awaitable[list[Problem]]] = resolve(load)
        with anyio.fail_after(PATIENCE):
            problems = await check()
    except TimeoutError:
        return [Finding(name, "missing", f"the check did not end within {PATIENCE:g} s")]
    except Exception as error:  # noqa: BLE001 a plugin's check may raise anything
        return [Finding(name, "missing", f"the check failed: {error!r}")]
    if not problems:
        return [Finding(name, "ok", "nothing is wrong")]
    return [
        Finding(name, "note" if p.unused and not wanted else "missing", p.what, p.cure)
        for p in problems
    ]
