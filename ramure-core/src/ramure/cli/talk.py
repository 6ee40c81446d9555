"""``ramure send``, ``ramure call`` and ``ramure stop``: doing something with a live run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ramure.cli import output, runs
from ramure.cli.client import PATIENCE, Silent
from ramure.cli.farewell import look_back
from ramure.cli.options import AgentName, RunId
from ramure.errors import RunError

POLL = 0.05


def send(
    agent: AgentName,
    message: Annotated[
        list[str], typer.Argument(metavar="MESSAGE", help="What to tell it; '-' reads stdin.")
    ],
    *,
    run_id: RunId = None,
) -> None:
    """Send a message to an agent; returns once its program holds it."""
    text = sys.stdin.read() if message == ["-"] else " ".join(message)
    if not text.strip():
        raise typer.BadParameter("the message is empty")
    run = runs.choose(run_id)
    with run.connect() as client:
        answer = client.request("send", timeout=None, agent=agent, message=text)
    output.tell(f"sent to {answer['agent']}")


def call(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="JSON where it is JSON, else text."),
    ] = None,
    *,
    given: Annotated[
        str | None,
        typer.Option("--json", metavar="OBJECT", help="All arguments as JSON; '-' reads stdin."),
    ] = None,
    process: Annotated[
        str | None, typer.Option(help="The process's id or name, where several have it.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds; then the call is cancelled.", min=0)
    ] = None,
    run_id: RunId = None,
) -> None:
    """Call an endpoint that a process exposes, and print what it returns."""
    values = _object(given) if given is not None else {}
    for argument in arguments or []:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not NAME=VALUE")
        values[name] = _value(value)
    run = runs.choose(run_id)
    with run.connect() as client:
        if timeout:
            client.request("about", timeout=min(PATIENCE, timeout))
        params = {"endpoint": endpoint, "arguments": values, "process": process}
        try:
            result = client.request("call", timeout=timeout, **params)
        except Silent:
            if timeout is None:
                raise
            text = f"{endpoint} gave no answer within {timeout:g} s; the call was cancelled"
            raise RunError(text) from None
    output.show(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise typer.BadParameter(f"--json: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("--json takes an object: the arguments by name")
    return value


def stop(
    *,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for its cleanup; 0 for none.", min=0)
    ] = 60.0,
    run_id: RunId = None,
) -> None:
    """Cancel a run and wait until all it owned is gone."""
    run = runs.choose(run_id)
    with run.connect() as client:
        logs = Path(client.request("about")["logs"])
        client.request("stop")
    deadline = time.monotonic() + timeout
    while run.held and time.monotonic() < deadline:
        time.sleep(POLL)
    if timeout and run.held:
        raise RunError(f"the run {run.id} is still cleaning up after {timeout:g} s")
    if timeout and (trouble := look_back(run, logs)):
        raise RunError(trouble)
    output.tell(f"stopped {run.id}" if timeout else f"stopping {run.id}")
