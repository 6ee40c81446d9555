"""Commands that plugins add. A broken one is left out; it never breaks the command."""

from __future__ import annotations

import typer
from typer.main import get_command

from ramure.cli import output


def add_plugin_commands(app: typer.Typer) -> None:
    """Add to ``app`` what plugins register, each command once it has proved to be one."""
    from ramure.plugins import Plugins

    added = typer.Typer()
    try:
        Plugins.load().commands(added)
    except Exception as error:  # noqa: BLE001 whatever is installed here, the rest must work
        output.tell(f"ramure: plugins cannot be loaded: {error!r}")
        return
    taken = {command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = [it.typer_instance for it in app.registered_groups if it.typer_instance]
    taken |= {str(group.info.name) for group in groups}
    for command in added.registered_commands:
        alone = typer.Typer()
        alone.registered_commands.append(command)
        if _works(alone, taken):
            app.registered_commands.append(command)
    for group in added.registered_groups:
        alone = typer.Typer()
        alone.callback()(_nothing)
        alone.registered_groups.append(group)
        if _works(alone, taken):
            app.registered_groups.append(group)


def _works(alone: typer.Typer, taken: set[str]) -> bool:
    """Whether typer can make a command of it, under a name that is free."""
    try:
        made = get_command(alone)
        # A group holds what was added; a lone command is the command itself.
        names = set(getattr(made, "commands", {made.name: made}))
    except Exception as error:  # noqa: BLE001 a plugin's function may have any signature
        output.tell(f"ramure: a plugin's command is left out: {error}")
        return False
    if clash := names & taken:
        output.tell(f"ramure: a plugin's command is left out: {', '.join(clash)} is taken")
        return False
    taken |= {str(name) for name in names}
    return True


def _nothing() -> None:
    pass
