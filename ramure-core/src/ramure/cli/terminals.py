"""``ramure connect`` and ``ramure ssh``: terminals on the machines of a live run."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from ramure.cli import foreground, output, runs
from ramure.cli.client import ControlClient, Silent
from ramure.cli.options import AgentName, RunId
from ramure.cli.pipes import Pipes
from ramure.cli.pty import Terminal, announce, is_there, key
from ramure.errors import UsageError

DETACH = "ctrl-\\"

DetachKey = Annotated[
    str, typer.Option(metavar="KEY", help="Leaves a terminal that comes through the run.")
]


def connect(agent: AgentName, *, detach_key: DetachKey = DETACH, run_id: RunId = None) -> None:
    """See an agent at work, and type to it; detaching leaves it running."""
    terminal = Terminal("`ramure send` and `ramure logs` work without")
    detach = key(detach_key)
    run = runs.choose(run_id)
    with run.connect() as attendance:  # it tells the run that somebody is there
        info = attendance.request("terminal_info", agent=agent)
        if info["here"]:
            code = _show_here(info)
        else:
            with run.connect() as client:
                client.request("terminal", agent=agent, timeout=None, **terminal.screen)
                announce(f"connected to {info['agent']}", detach_key)
                code = _join(terminal, client, detach)
        if not _tell_fate(attendance, run.id, info["agent"]) and code:
            raise typer.Exit(code)


def _show_here(info: dict[str, Any]) -> int:
    """Run the command that shows the agent's terminal; its exit code."""
    # Inside a person's own tmux, tmux would refuse to attach.
    env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_PANE")} | info["env"]
    return foreground.run(info["argv"], env)


def _tell_fate(attendance: ControlClient, run: str, agent: str) -> bool:
    """Where the agent's program has ended, and not the person's look at it, say what follows."""
    try:
        fate = attendance.ask({"left": True}, timeout=runs.GLANCE)
    except Silent:
        return False
    if fate is None:
        output.tell(f"the run has ended: `ramure why --id {run}` says how")
        return True
    if fate["program"] == "running":
        return False
    follows = {
        "fail": f"its process {fate['process']!r} fails with AgentDied, unless it handles that",
        "ignore": 'the run goes on without it (on_failure="ignore")',
        "restart": "the run starts it again, after the third time within 5 minutes its process "
        f"fails; `ramure connect {agent}` shows it then",
    }
    over = f"its process {fate['process']!r} is over"
    what = over if fate["program"] == "over" else follows[fate["on_failure"]]
    output.tell(f"the program of {agent} has ended: {what}")
    return True


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
    """Open a shell on an agent's machine, in its working directory, or run a command there.

    One word is read by a shell there ('ls | wc'), several are taken as they are. Where stdin or
    stdout is no terminal, the command has none either, and reads and writes what this one does.
    """
    if agent is None and machine is None:
        raise UsageError("ssh: name an agent, or a machine with --machine")
    if machine is not None and agent is not None:  # then there is no AGENT before the command
        command = [agent, *(command or [])]
        agent = None
    detach = key(detach_key)
    plain = command and not is_there()
    terminal = None if plain else Terminal("a command needs none: `ramure ssh AGENT COMMAND`")
    screen = terminal.screen if terminal else {"pty": False}
    where = {"agent": agent} if agent else {"machine": machine}
    with runs.choose(run_id).connect() as client:
        said = client.request("shell", timeout=None, command=_argv(command), **where, **screen)
        if terminal is None:
            code = Pipes().join(client)
        else:
            announce(f"on {said['machine']}", detach_key)
            code = _join(terminal, client, detach)
    if code:
        raise typer.Exit(code)


def _argv(command: list[str] | None) -> list[str] | None:
    if command and len(command) == 1:
        return ["/bin/sh", "-c", command[0]]
    return command or None


def _join(terminal: Terminal, client: ControlClient, detach: bytes) -> int:
    code = terminal.join(client, detach)
    if code is None:
        output.tell("detached")
    return code or 0
