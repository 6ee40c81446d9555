"""``ramure logs``: what happened in a run, live or finished."""

from __future__ import annotations

import glob
import heapq
import json
import re
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ramure import paths
from ramure.cli import output, runs
from ramure.cli.farewell import look_back
from ramure.cli.options import RunId
from ramure.errors import NoSuchAgent, NoSuchRun, SeveralRuns, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ramure.events import Event

LOOK = 0.1
"""Seconds between two looks at the logs of a run that is followed."""

BLOCK = 64 * 1024
"""Bytes that are read at a time."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(
    agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="Only this agent's events.")
    ] = None,
    *,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", help="Only events of this type; may be given several times."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only later events: 90s, 10m, 2h, 1d ago, or an ISO time."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is yet to come.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="A log folder, where log_dir= moved it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    run_id: RunId = None,
) -> None:
    """Show a run's events; without --id those of the only live run, else of the last one."""
    start = _time(since) if since else 0.0
    where, live = find(run_id, folder)
    reader = Reader(where, agent, live=follow and live is not None)
    more = True
    while more:
        # Asked before reading: what was written before the end is read after it.
        more = follow and live is not None and _goes_on(live)
        for event in reader.news():
            if event.time >= start and (not types or event.type in types):
                output.show(_as_json(event) if as_json else _as_text(event))
        if more:
            sys.stdout.flush()
            time.sleep(LOOK)
    if follow and live is not None and (trouble := look_back(live, where)):
        output.tell(trouble)


def find(prefix: str | None, folder: Path | None) -> tuple[Path, runs.Run | None]:
    """The log folder that is meant, and its run where that is live.

    Args:
        prefix: of an execution id; None: of the only live run, else of the last one.
        folder: the log folder itself, whatever the prefix.

    Raises:
        NoSuchRun, SeveralRuns: as their names say.
    """
    if folder:
        return folder, None
    live = _live(prefix)
    return (Path(live.about["logs"]) if live else _finished(prefix)), live


def _goes_on(run: runs.Run) -> bool:
    """Whether there may be more to come: its program listens, or holds it to its last moment."""
    return runs.Run(run.socket).alive or run.held


def _live(prefix: str | None) -> runs.Run | None:
    fitting = [r for r in runs.known() if r.id.startswith(prefix or "") and r.alive]
    if len(fitting) > 1:
        return runs.choose(prefix)  # raises, and says which there are
    return fitting[0] if fitting and "logs" in fitting[0].about else None


def _finished(prefix: str | None) -> Path:
    fitting = [run for run in runs.finished() if run.startswith(prefix or "")]
    if not fitting:
        raise NoSuchRun(f"there are no logs of a run {prefix or ''}".rstrip())
    if prefix and len(fitting) > 1 and prefix not in fitting:
        listed = "".join(f"\n  {run}" for run in fitting)
        raise SeveralRuns(f"--id {prefix} fits several runs:{listed}")
    return paths.logs() / (prefix if prefix in fitting else fitting[-1])


def _time(text: str) -> float:
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
        return time.time() - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]]).total_seconds()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"--since {text}: give it like 10m, or 2026-01-31T12:00") from None


class Reader:
    """Reads the logs of one run in the order of time, again and again as they grow."""

    def __init__(self, folder: Path, agent: str | None, *, live: bool) -> None:
        self._folder = folder
        self._agent = agent
        self._offsets: dict[Path, int] = {}
        if not folder.is_dir():
            raise NoSuchRun(f"there are no logs in {folder}")
        if agent and not (folder / f"{agent}.jsonl").exists():
            agents = sorted(path.stem for path in folder.glob("[!_]*.jsonl"))
            known = ", ".join(agents) or "none"
            if not live:
                raise NoSuchAgent(f"the run had no agent {agent!r}; it had: {known}")
            output.tell(f"no agent {agent!r} yet; there are: {known}")

    def news(self) -> Iterator[Event]:
        """What was written since the last time."""
        name = glob.escape(self._agent) if self._agent else "*"
        files = sorted(self._folder.glob(f"{name}.jsonl"))
        return heapq.merge(*map(self._read, files), key=lambda event: event.time)

    def _read(self, path: Path) -> Iterator[Event]:
        from ramure.run.journal_lines import decode, read_block

        while True:
            start = self._offsets.get(path, 0)
            lines, end = read_block(path, start, BLOCK)
            if end == start:
                return
            self._offsets[path] = end
            yield from filter(None, map(decode, lines))


def _as_json(event: Event) -> str:
    told = {
        "time": event.time,
        "type": event.type,
        "data": event.data,
        "seq": event.seq,
        "process": event.process,
        "agent": event.agent,
        "source": event.source,
    }
    return json.dumps(told, ensure_ascii=False)


def moment(time: float) -> str:
    """A Unix time as people read it: of the day, to the millisecond."""
    return datetime.fromtimestamp(time).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _as_text(event: Event) -> str:
    when = moment(event.time)
    who = event.agent or (f"process {event.process}" if event.process else "run")
    if event.source:
        who += f" ({event.source})"
    data = "" if event.data is None else json.dumps(event.data, ensure_ascii=False)
    text = f"{when}  {who}  {event.type}"
    if output.for_people():
        room = shutil.get_terminal_size().columns - len(text) - 2
        data = data if len(data) <= room else f"{data[: max(0, room - 1)]}…"
        text = f"{output.dim(when)}  {output.bold(output.printable(who))}  {event.type}"
    return f"{text}  {output.printable(data)}".rstrip()
