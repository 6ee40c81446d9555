"""``ramure why``: how a run ended and what went wrong in it, from its logs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramure.cli import logs, output
from ramure.cli.options import RunId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ramure.events import Event

TERMINAL = {"done", "failed", "cancelled"}

TROUBLE = {
    "agent_failed",
    "agent_restarted",
    "cleanup_failed",
    "machine_waiting",
    "model_failed",
    "restarting",
    "route_failed",
    "signal",
    "sweep_failed",
    "tend_failed",
    "unobserved_failure",
}
"""What is worth telling besides the ends of processes."""


@dataclass
class ProcessEnd:
    """How one process ended; ``status`` is ``running`` where that was never told."""

    id: str
    name: str
    status: str = "running"
    error: str = ""
    message: str = ""
    seconds: float = 0.0


@dataclass
class Story:
    """What the logs say.

    Attributes:
        run: the execution id.
        live: the run is still going on.
        processes: in the order they started.
        trouble: what else went wrong: time (Unix), type and data.
        last: the time of the last event.
    """

    run: str
    live: bool
    processes: dict[str, ProcessEnd] = field(default_factory=dict)
    trouble: list[dict[str, Any]] = field(default_factory=list)
    started: float = 0.0
    last: float = 0.0

    @property
    def root(self) -> ProcessEnd:
        """The root process, as far as it came."""
        return self.processes.get("1", ProcessEnd("1", "?"))


def why(
    *,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="A log folder, where log_dir= moved it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    run_id: RunId = None,
) -> None:
    """Say how a run ended and what went wrong; without --id of the only live run, or the last."""
    where, live = logs.find(run_id, folder)
    story = tell(where.name, live is not None, logs.Reader(where, None, live=False).news())
    if as_json:
        output.show_json({**asdict(story), "processes": list(asdict(story)["processes"].values())})
        return
    for line in _lines(story):
        output.show(line)


def tell(run: str, live: bool, events: Iterable[Event]) -> Story:
    """The story that a run's events tell."""
    story = Story(run, live)
    for event in events:
        story.started = story.started or event.time
        story.last = event.time
        if event.source is not None or event.agent:
            continue  # told where it happened
        if event.type == "started" and event.process:
            name = event.data.get("name", "?") if isinstance(event.data, dict) else "?"
            story.processes[event.process] = ProcessEnd(event.process, name, seconds=event.time)
        elif event.type in TERMINAL and event.process in story.processes:
            _end(story.processes[event.process], event)
        elif event.type in TROUBLE:
            story.trouble.append({"time": event.time, "type": event.type, "data": event.data})
    for process in story.processes.values():
        if process.status == "running":
            process.seconds = story.last - process.seconds
    return story


def _end(process: ProcessEnd, event: Event) -> None:
    process.status = event.type
    process.seconds = event.time - process.seconds
    if event.type != "done" and isinstance(event.data, dict):
        process.error = str(event.data.get("error", ""))
        process.message = str(event.data.get("message", ""))


def _lines(story: Story) -> Iterable[str]:
    yield _headline(story)
    root = story.root
    if root.message:
        yield ""
        yield from _indented(f"{root.error}: {root.message}" if root.error else root.message)
    others = [p for p in story.processes.values() if p.id != "1" and p.status == "failed"]
    if others:
        yield ""
        yield "Processes that failed:"
    for process in others:
        same = (process.error, process.message) == (root.error, root.message)
        said = "the same" if same else f"{process.error}: {process.message}"
        yield from _indented(f"{process.name} {process.id}  {said}")
    if story.trouble:
        yield ""
        yield "What else happened:"
    for trouble in story.trouble:
        what = json.dumps(trouble["data"], ensure_ascii=False)
        yield from _indented(f"{logs.moment(trouble['time'])}  {trouble['type']}  {what}")
    yield ""
    yield output.dim(f"`ramure logs --id {story.run}` shows everything.")


def _headline(story: Story) -> str:
    root = story.root
    took = output.duration(root.seconds)
    who = f"{story.run}  {output.printable(root.name)}"
    if root.status != "running":
        ended = {"done": "ended with a result", "cancelled": "was cancelled", "failed": "failed"}
        return f"{output.bold(who)}  {ended[root.status]} after {took}"
    if story.live:
        return f"{output.bold(who)}  is running, for {took} by its last event"
    return (
        f"{output.bold(who)}  ended without a farewell {took} after its start: its program was "
        "killed or crashed, or the computer went down"
    )


def _indented(text: str) -> Iterable[str]:
    for line in text.splitlines():
        yield f"  {output.printable(line)}"
