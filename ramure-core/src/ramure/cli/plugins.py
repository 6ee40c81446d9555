"""``ramure plugins``: what is installed; ``ramure plugins new``: the beginning of another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ramure.cli import output
from ramure.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping


def plugins(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List installed plugins, what each brings, and what is wrong with it."""
    if context.invoked_subcommand is not None:
        return
    from ramure.plugins import Plugins

    found = Plugins.load()
    installed, problems = found.installed, found.problems
    if as_json:
        output.show_json(
            {
                "plugins": [asdict(plugin) for plugin in installed],
                "problems": [asdict(problem) for problem in problems],
            }
        )
        return
    output.table(
        ("NAME", "VERSION", "ORIGIN", "BRINGS"),
        [
            (p.name, p.version, p.origin, _brings(p.registers) if p.working else "left out")
            for p in installed
        ],
    )
    for problem in problems:
        output.tell(f"ramure: {problem}")


def _brings(registers: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in registers.items())


def new(
    name: Annotated[str, typer.Argument(help="What the backend is to be called, such as: cloud.")],
    *,
    harness: Annotated[
        bool, typer.Option("--harness", help="Also write a harness, with a small agent.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", "-d", help="Write the package into this folder, in place of ramure-NAME."
        ),
    ] = None,
) -> None:
    """Write the package of a new plugin, ready to be installed and to run its tests."""
    from ramure.cli.scaffold import Plan, write

    plan = Plan.of(name, folder, harness=harness)
    for path in write(plan):
        output.show(str(path))
    output.tell(f"Now: cd {plan.folder}, pip install -e '.[test]', and pytest.")
