"""Which runs there are, and which one the person means.

A live run's control socket answers. Where there is a socket and nobody listens, the run died.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ramure import paths
from ramure.cli.client import ControlClient, Refused, dialled
from ramure.errors import NoSuchRun, RunDied, SeveralRuns

GLANCE = 2.0
"""Seconds that a run may take to say what it is, where several are listed."""


@dataclass(frozen=True)
class Run:
    """A run that has a control socket."""

    socket: Path

    @property
    def id(self) -> str:
        """The execution id."""
        return self.socket.stem

    @property
    def folder(self) -> Path:
        """Where it keeps its state; removed as the last thing at its end."""
        return paths.runtimes() / self.id

    @cached_property
    def elsewhere(self) -> str:
        """The name of the other computer that it is a run of; "" for one of this computer."""
        from ramure.run.sweep import elsewhere

        return elsewhere(self.folder)

    @property
    def held(self) -> bool:
        """True while its program has it, or somebody cleans up after that: the lock tells."""
        from ramure.run.sweep import is_alive

        return is_alive(self.folder)

    def forget(self) -> None:
        """Remove the socket of a run that is dead."""
        paths.remove_sockets([self.socket])

    @cached_property
    def alive(self) -> bool:
        """False where nobody listens. An error in asking never counts as death."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            try:
                asking.connect(dialled(self.socket))
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:
                return True
        return True

    @cached_property
    def about(self) -> dict[str, Any]:
        """What it says of itself; only the id where it does not answer in time."""
        try:
            with self.connect() as client:
                said: dict[str, Any] = client.request("about", timeout=GLANCE)
        except (RunDied, Refused):
            return {"id": self.id, "name": "", "status": "not answering"}
        return said

    def connect(self) -> ControlClient:
        """A connection to it."""
        return ControlClient(self.socket)

    def __str__(self) -> str:
        return f"{self.id}  {self.about['name'] or self.about['status']}"


def known() -> list[Run]:
    """All runs with a socket, dead ones too, oldest first."""
    try:  # not glob(), for which a home that cannot be read is an empty one
        found = sorted(paths.runtimes().iterdir())
    except FileNotFoundError:
        return []
    return [Run(path) for path in found if path.suffix == ".sock"]


def finished() -> list[str]:
    """The ids of the runs that have logs, oldest first; live ones among them."""
    try:
        return sorted(entry.name for entry in paths.logs().iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def choose(prefix: str | None) -> Run:
    """The live run of this id or of this beginning of one; without any, the only live run.

    Raises:
        NoSuchRun: there is none.
        SeveralRuns: it could be any of several.
        RunDied: there was one of this computer, and it died.
    """
    runs = known()
    if prefix:
        runs = [r for r in runs if r.id == prefix] or [r for r in runs if r.id.startswith(prefix)]
    live = [run for run in runs if run.alive]
    if len(live) == 1:
        return live[0]
    if live:
        listed = "".join(f"\n  {run}" for run in live)
        which = f"--id {prefix} fits several live runs" if prefix else "there are several live runs"
        raise SeveralRuns(f"{which}; name one with --id:{listed}")
    if runs and prefix:
        if host := runs[-1].elsewhere:
            raise NoSuchRun(f"{of_another_host(runs[-1].id, host)}: look there")
        raise RunDied(_died(runs[-1].id))
    raise NoSuchRun(_none(prefix, dead=sum(not run.elsewhere for run in runs)))


def of_another_host(run: str, host: str) -> str:
    """What is said of a run that another computer, which shares this home, has or had."""
    return f"the run {run} belongs to the host {host}"


def _died(run: str) -> str:
    return (
        f"the run {run} died: it left its socket, and nobody listens there. "
        f"`ramure why --id {run}` shows what happened, `ramure gc` removes what it left."
    )


def _none(prefix: str | None, *, dead: int) -> str:
    if prefix:
        ended = [run for run in finished() if run.startswith(prefix)]
        if ended:
            return f"the run {ended[-1]} has ended; `ramure why --id {ended[-1]}` says how"
        return f"there is no run whose id begins with {prefix!r}; `ramure ls` lists the live ones"
    text = (
        "there is no live run. Running a program with an @agent_process starts one "
        "(try `ramure demo`); `ramure ls --all` lists those that have ended."
    )
    return f"{text} {dead} died without a farewell: `ramure gc` cleans up." if dead else text
