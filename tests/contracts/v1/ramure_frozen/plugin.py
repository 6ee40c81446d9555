"""All hooks of version 1."""

import os

from ramure import hookimpl
from ramure.hookspecs import BackendInfo, CheckInfo, HarnessInfo, TransportInfo

RAMURE_CONTRACT = 1


@hookimpl
def ramure_register_backends():
    yield BackendInfo(
        name="frozen",
        summary="folders of this computer",
        load="ramure_frozen.machines:FrozenBackend",
        image="ramure_frozen.machines:FrozenImage",
    )


@hookimpl
def ramure_register_harnesses():
    return [HarnessInfo(name="frozen", summary="an echo", load="ramure_frozen.agents:FrozenHarness")]


@hookimpl
def ramure_register_transports():
    return [TransportInfo("frozen", "the run's own socket", "ramure_frozen.agents:FrozenTransport")]


@hookimpl
def ramure_register_checks():
    return [CheckInfo("frozen", "it is still there", load="ramure_frozen.agents:check")]


@hookimpl
def ramure_register_commands(app):
    @app.command()
    def frozen() -> None:
        """Say that it works."""
        print("it works")


@hookimpl
def ramure_observe(event):
    if path := os.environ.get("FROZEN_EVENTS"):
        with open(path, "a") as file:
            file.write(f"{event.type}\n")
