"""Options and arguments that commands share, and their completion."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ramure.cli import runs
from ramure.errors import RamureError


def _run_ids(incomplete: str) -> list[str]:
    return [r.id for r in runs.known() if r.id.startswith(incomplete) and r.alive]


def _agents(ctx: typer.Context, incomplete: str) -> list[str]:
    try:
        with runs.choose(ctx.params.get("run_id")).connect() as client:
            agents: list[dict[str, Any]] = client.request("agents", timeout=runs.GLANCE)
    except RamureError:
        return []
    return [a["address"] for a in agents if a["address"].startswith(incomplete)]


RunId = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="PREFIX",
        help="The run's execution id, or its beginning. Omit it where there is one live run.",
        autocompletion=_run_ids,
    ),
]

AgentName = Annotated[
    str, typer.Argument(metavar="AGENT", help="The agent's address.", autocompletion=_agents)
]

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
