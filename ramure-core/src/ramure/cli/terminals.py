"""``ramure connect`` and ``ramure ssh``: terminals on the machines of a live run."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from ramure.cli import output, runs
from ramure.cli.client import ControlClient
from ramure.cli.options import AgentName, RunId
from ramure.cli.pty import Terminal, announce, key
from ramure.errors import RunError, UsageError

DETACH = "ctrl-\\"

DetachKey = Annotated[
    str, typer.Option(metavar="KEY", help="Leaves a terminal that comes through the run.")
]


def connect(agent: AgentName, *, detach_key: DetachKey = DETACH, run_id: RunId = None) -> None:
    """See an agent at work, and type to it; detaching leaves it running."""
    terminal, detach = Terminal(), key(detach_key)
    run = runs.choose(run_id)
    with run.connect() as client:
        info = client.request("terminal_info", agent=agent)
        if info["here"]:
            _become(info, client)
    with run.connect() as client:
        client.request("terminal", agent=agent, timeout=None, **terminal.screen)
        announce(f"connected to {info['agent']}", detach_key)
        _join(terminal, client, detach)


def _become(info: dict[str, Any], client: ControlClient) -> None:
    """Turn into the command that shows the agent's terminal.

    The connection stays open in it: that tells the run that somebody is there.
    """
    os.set_inheritable(client.fileno(), True)
    # Inside a person's own tmux, tmux would refuse to attach.
    env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_PANE")} | info["env"]
    argv = info["argv"]
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 no shell is wanted
    except OSError as error:
        raise RunError(f"cannot run {argv[0]}: {error.strerror}") from error


def ssh(
    agent: Annotated[str | None, AgentName.__metadata__[0]] = None,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", help="What to run there; a shell if omitted."),
    ] = None,
    *,
    machine: Annotated[
        str | None, typer.Option(help="A machine by its name, in place of AGENT.")
    ] = None,
    detach_key: DetachKey = DETACH,
    run_id: RunId = None,
) -> None:
    """Open a shell on an agent's machine, in its working directory."""
    if (agent is None) == (machine is None):
        raise UsageError("ssh: name an agent, or a machine with --machine")
    terminal, detach = Terminal(), key(detach_key)
    with runs.choose(run_id).connect() as client:
        where = {"agent": agent} if agent else {"machine": machine}
        screen = terminal.screen
        said = client.request("shell", timeout=None, command=command or None, **where, **screen)
        announce(f"on {said['machine']}", detach_key)
        _join(terminal, client, detach)


def _join(terminal: Terminal, client: ControlClient, detach: bytes) -> None:
    code = terminal.join(client, detach)
    if code is None:
        output.tell("detached")
    elif code:
        raise typer.Exit(code)
