"""``ramure ls`` and ``ramure status``: what there is."""

from __future__ import annotations

import json
import time
from datetime import datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Annotated, Any

import typer

from ramure import paths
from ramure.cli import output, runs
from ramure.cli.options import AsJson, RunId

ENDINGS = ("done", "failed", "cancelled")
TAIL = 65_536
"""Bytes at the end of a log in which a run's ending is looked for, and the line that they cut."""


def ls(
    *,
    all_runs: Annotated[bool, typer.Option("--all", "-a", help="Finished runs, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List live runs."""
    listed = [run.about for run in runs.known() if run.alive]
    if all_runs:
        live = {run["id"] for run in listed}
        listed = [_finished(run) for run in runs.finished() if run not in live] + listed
    if as_json:
        output.show_json(listed)
    elif listed:
        output.table(
            ("ID", "NAME", "STATUS", "STARTED", "AGENTS"), [_row(about) for about in listed]
        )
    else:
        output.tell("no live run" if not all_runs else "no run")


def _row(about: dict[str, Any]) -> tuple[str, ...]:
    started, agents = about.get("started"), about.get("agents")
    ago = f"{output.duration(time.time() - started)} ago" if started else ""
    return (
        about["id"],
        about["name"],
        about["status"],
        ago,
        "" if agents is None else str(agents),
    )


def _finished(run: str) -> dict[str, Any]:
    """What a finished run's log says of it."""
    about: dict[str, Any] = {"id": run, "name": "", "status": "died"}
    log = paths.logs() / run / "_runtime.jsonl"
    about["logs"] = str(log.parent)
    for event in _ends_of(log):
        if event.get("process") != "1" or "seq" not in event:
            continue
        if event.get("type") == "started" and event["seq"] == 1:
            about["name"] = event["data"]["name"]
            about["started"] = event["time"]
        elif event.get("type") in ENDINGS and "source" not in event:
            about["status"] = event["type"]
            about["ended"] = event["time"]
    return about


def _ends_of(log: Path) -> list[dict[str, Any]]:
    """The events at the beginning and at the end of a log."""
    try:
        with log.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            head = text[:TAIL]
            # A whole line: what a run ended with may be its longest.
            rest = text.rfind(b"\n", 0, max(len(head), len(text) - TAIL)) + 1
            lines = [*head.splitlines(), *text[rest:].splitlines()]
    except (OSError, ValueError):  # not there, or empty
        return []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue  # cut by where we read, or by a crash
    return [event for event in events if isinstance(event, dict)]


def status(*, run_id: RunId = None, as_json: AsJson = False) -> None:
    """Show a run's processes with their agents, machines, connections, endpoints and costs."""
    with runs.choose(run_id).connect() as client:
        said = client.request("status")
    if as_json:
        output.show_json(said)
        return
    run = said["run"]
    since = datetime.fromtimestamp(run["started"]).astimezone().strftime("%H:%M:%S")
    ago = output.duration(time.time() - run["started"])
    output.show(f"{output.bold(run['id'])}  {run['name']}, since {since} ({ago}), pid {run['pid']}")
    output.show(output.dim(f"logs: {run['logs']}"))
    output.show()
    for line in _process(said["process"], "", ""):
        output.show(line)
    if said["machines"]:
        output.show()
        output.table(
            ("MACHINE", "HOST", "FOLDER", "AGENTS"), [_machine(m) for m in said["machines"]]
        )
    if said.get("waiting"):  # not of a run of an earlier version
        output.show()
        for wait in said["waiting"]:
            output.show(_waiting(wait))
    usage = said["usage"]
    output.show()
    output.show(f"{_tokens(usage['tokens'])} tokens, ${usage['cost']:.4f}")


def _process(process: dict[str, Any], first: str, rest: str) -> list[str]:
    """A process and what is beneath it, as the lines of a tree."""
    state = "waiting" if process["waiting"] else process["status"]
    title = f"{output.bold(process['name'])} {output.dim(process['id'])}  {output.status(state)}"
    if process["endpoints"]:
        title += f"  endpoints: {', '.join(process['endpoints'])}"
    lines = [f"{first}{title}"]
    beneath = [*process["agents"], *process["children"]]
    for number, item in enumerate(beneath):
        last = number == len(beneath) - 1
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if "children" in item:
            lines += _process(item, f"{rest}{branch}", f"{rest}{below}")
        else:
            lines.append(f"{rest}{branch}{_agent(item)}")
    return lines


def _agent(agent: dict[str, Any]) -> str:
    parts = [f"{agent['address']}  {output.status(agent['status'])}"]
    if agent["idle_seconds"] is not None:
        parts[0] += f" {output.duration(agent['idle_seconds'])}"
    if not agent["connected"] and agent["status"] != "ended":
        parts.append("not connected")
    parts.append(f"on {agent['machine']}")
    if agent["model"]:
        parts.append(agent["model"])
    if any(agent["tokens"].values()):
        parts.append(f"{_tokens(agent['tokens'])}, ${agent['cost']:.4f}")
    if agent["connections"]:
        parts.append(f"→ {', '.join(agent['connections'])}")
    return "  ".join(parts)


def _tokens(tokens: dict[str, int]) -> str:
    return f"{output.amount(tokens['input'])} in, {output.amount(tokens['output'])} out"


def _waiting(wait: dict[str, Any]) -> str:
    hosts = ", ".join(f"{host} (at most {limit})" for host, limit in wait["hosts"].items())
    ago = output.duration(wait["seconds"])
    return f"{wait['machine']}  waits for room on {hosts}, for {ago} now"


def _machine(machine: dict[str, Any]) -> tuple[str, str, str, str]:
    return machine["name"], machine["host"], machine["workdir"], ", ".join(machine["agents"])
