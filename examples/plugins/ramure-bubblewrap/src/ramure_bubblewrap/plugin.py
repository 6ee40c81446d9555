"""What this plugin registers with ramure: names of what to import once it is used."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from ramure.hookspecs import BackendInfo, CheckInfo, HarnessInfo, TransportInfo, hookimpl

RAMURE_CONTRACT = 1


# --8<-- [start:backend]
@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """Sandboxes."""
    yield BackendInfo(
        "bubblewrap",
        "sandboxes of this computer, by bubblewrap",
        load="ramure_bubblewrap.backend:BubblewrapBackend",
        image="ramure_bubblewrap.image:BubblewrapImage",
    )


@hookimpl
def ramure_register_transports() -> Iterable[TransportInfo]:
    """The way out of them."""
    yield TransportInfo(
        "bubblewrap",
        "a socket in a sandbox's own folder",
        load="ramure_bubblewrap.transport:BubblewrapTransport",
    )


# --8<-- [end:backend]


# --8<-- [start:harness]
@hookimpl
def ramure_register_harnesses() -> Iterable[HarnessInfo]:
    """The agent."""
    yield HarnessInfo(
        "clerk",
        "an agent without a model, which does what its messages say",
        load="ramure_bubblewrap.harness:ClerkHarness",
    )


# --8<-- [end:harness]


# --8<-- [start:more]
@hookimpl
def ramure_register_checks() -> Iterable[CheckInfo]:
    """Whether sandboxes can be made here."""
    yield CheckInfo("bubblewrap", "a sandbox can be made", load="ramure_bubblewrap.checks:usable")


@hookimpl
def ramure_register_commands(app: typer.Typer) -> None:
    """``ramure bubblewrap``: imported late, since this runs at every start of the command line."""

    def bubblewrap(command: list[str]) -> None:
        """Run a command in a sandbox of its own, such as: sh -c 'id; ls -la'."""
        from ramure_bubblewrap.cli import run

        raise typer.Exit(run(command))

    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=settings)(bubblewrap)


# --8<-- [end:more]
