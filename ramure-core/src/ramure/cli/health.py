"""``ramure doctor``, ``gc``: what is missing or wrong, and what is left over."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from ramure.cli import output, runs
from ramure.cli.options import AsJson


def doctor(
    checks: Annotated[
        list[str] | None, typer.Argument(help="Only these checks of plugins, such as: docker.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check what is installed and what is missing, with the cure for each."""
    import anyio

    from ramure.cli.checks import run_checks, run_named

    try:
        findings = anyio.run(partial(run_named, checks) if checks else run_checks)
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None
    if as_json:
        output.show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            output.show(str(finding))
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def gc(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")
    ] = False,
    images: Annotated[
        bool,
        typer.Option("--images", help="Also remove what is kept for later machines: tool sets."),
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(help="With --images: where; each backend's own host unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what runs that died have left: machines, processes, sockets, folders."""
    import anyio

    from ramure.plugins import Plugins
    from ramure.run import sweep

    dead = sweep.dead_runs()
    if dry_run:
        removed: dict[str, list[str]] = {folder.name: [] for folder in dead}
    else:
        removed = anyio.run(sweep.sweep_all, dead, Plugins.load())
    for run in runs.known():
        # A socket whose run's folder is gone; where the folder is there, its lock has decided.
        if not run.alive and not run.folder.exists():
            removed.setdefault(run.id, [])
            if not dry_run:
                run.forget()
    left = [folder.name for folder in sweep.dead_runs()] if not dry_run else []
    elsewhere = sweep.runs_elsewhere()
    if images:
        removed |= anyio.run(partial(_remove_caches, host or [], dry_run=dry_run))
    if as_json:
        told = {"removed": removed, "left": left, "elsewhere": elsewhere, "dry_run": dry_run}
        output.show_json(told)
    else:
        _report(removed, left, elsewhere, dry_run=dry_run)
    if left:
        raise typer.Exit(1)


async def _remove_caches(hosts: list[str], *, dry_run: bool) -> dict[str, list[str]]:
    """What was removed, by host; a host that cannot be asked is told."""
    from ramure.errors import MachineError, PlacementError
    from ramure.placement import read_host
    from ramure.plugins import Plugins, resolve

    plugins = Plugins.load()
    removed: dict[str, list[str]] = {}
    for text in hosts or plugins.backends():
        place = read_host(text)
        backend = resolve(plugins.backend(place.backend).load)()
        try:
            found = await backend.remove_caches(place, dry_run=dry_run)
        except (MachineError, PlacementError) as error:
            output.tell(f"ramure: {text}: {error}")
        else:
            removed |= {text: found} if found else {}
        finally:
            await backend.aclose()
    return removed


def _report(
    removed: dict[str, list[str]], left: list[str], elsewhere: dict[str, str], *, dry_run: bool
) -> None:
    for run, machines in removed.items():
        what = ", ".join(machines) or "files"
        output.show(f"{run}  {'would be removed' if dry_run else f'removed: {what}'}")
    if not removed:
        output.tell("nothing is left over")
    for run in left:
        output.tell(
            f"ramure: not all that the run {run} left could be removed now; try again later"
        )
    for run, host in elsewhere.items():
        output.tell(f"{runs.of_another_host(run, host)}, which cleans up after it")
