"""The ``ramure`` command: its commands, those of plugins, and what its exit code says."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ramure.cli import demo, health, logs, look, output, plugins, talk, terminals, why
from ramure.cli.client import Refused
from ramure.errors import (
    NoSuchAgent,
    NoSuchRun,
    RamureError,
    RunDied,
    SeveralRuns,
    UsageError,
)

FAILED, USAGE, NO_RUN, SEVERAL_RUNS, NO_AGENT, RUN_DIED = 1, 2, 3, 4, 5, 6

_EXIT_CODES: dict[type[RamureError], int] = {
    UsageError: USAGE,
    NoSuchRun: NO_RUN,
    SeveralRuns: SEVERAL_RUNS,
    NoSuchAgent: NO_AGENT,
    RunDied: RUN_DIED,
}

_COMMANDS = (
    look.ls,
    look.status,
    talk.send,
    terminals.connect,
    terminals.ssh,
    talk.call,
    logs.logs,
    why.why,
    talk.stop,
    health.doctor,
    health.gc,
    demo.demo,
)

_GROUPS = {plugins.plugins: (plugins.new,)}
"""Commands that do something by themselves, and have commands beneath them."""


def _version(wanted: bool) -> None:
    if wanted:
        from ramure import __version__

        output.show(f"ramure {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Look at, talk to and stop runs of programs that use coding agents."""


class _LightHelp:
    """``--help`` is False where it is not given, not None.

    Typer asks pydantic what to make of None, and importing that takes as long as all of ``ls``.
    """

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.default = False
        return option


class _Group(_LightHelp, TyperGroup):
    pass


class _Command(_LightHelp, TyperCommand):
    pass


def build(*, whole: bool) -> typer.Typer:
    """The command with what core brings; ``whole``: with the options that install completion.

    Those, too, need pydantic whatever is called.
    """
    app = typer.Typer(
        name="ramure",
        cls=_Group,
        no_args_is_help=True,
        add_completion=whole,
        pretty_exceptions_enable=False,
        # Rich is for people, and costs as much time as all the rest.
        rich_markup_mode="rich" if output.for_people() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for command in _COMMANDS:
        app.command(cls=_Command)(command)
    for alone, beneath in _GROUPS.items():
        group = typer.Typer(name=alone.__name__, cls=_Group, invoke_without_command=True)
        group.callback()(alone)
        for each in beneath:
            group.command(cls=_Command)(each)
        app.add_typer(group)
    return app


def _is_core(arguments: list[str]) -> bool:
    """Whether one of core's own commands is called: then nothing else is needed."""
    names = {command.__name__ for command in (*_COMMANDS, *_GROUPS)}
    return bool(arguments) and arguments[0] in names and "_RAMURE_COMPLETE" not in os.environ


def main() -> None:
    """Run the command; ``docs/reference/cli.md`` lists the exit codes."""
    whole = not _is_core(sys.argv[1:])
    app = build(whole=whole)
    if whole:
        from ramure.cli.extend import add_plugin_commands

        add_plugin_commands(app)
    try:
        app(prog_name="ramure")
    except RamureError as error:
        output.tell(f"ramure: {error}")
        sys.exit(exit_code(error))
    except OSError as error:
        from ramure._home import concerns_home, unusable_home

        if not concerns_home(error):
            raise
        output.tell(f"ramure: {unusable_home(error)}")
        sys.exit(FAILED)


def exit_code(error: RamureError) -> int:
    """What the shell is told of an error."""
    if isinstance(error, Refused):
        return NO_AGENT if error.kind == NoSuchAgent.__name__ else FAILED
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), FAILED)
