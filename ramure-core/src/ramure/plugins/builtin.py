"""What core brings: registered through the same hooks as every plugin."""

from __future__ import annotations

from collections.abc import Iterable

from ramure.hookspecs import CONTRACT, BackendInfo, HarnessInfo, TransportInfo, hookimpl

RAMURE_CONTRACT = CONTRACT


@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """The computer that the program runs on."""
    yield BackendInfo(
        "local",
        "this computer, in a folder",
        load="ramure.backends.local:LocalBackend",
        image="ramure.backends.local:LocalImage",
    )


@hookimpl
def ramure_register_harnesses() -> Iterable[HarnessInfo]:
    """The real agent, and one for tests."""
    yield HarnessInfo("pi", "the pi coding agent, in tmux", "ramure.harnesses.pi.harness:PiHarness")
    yield HarnessInfo(
        "scripted",
        "an agent that follows a script, for tests",
        "ramure.testing.harness:ScriptedHarness",
    )


@hookimpl
def ramure_register_transports() -> Iterable[TransportInfo]:
    """The ways from a machine to the run that need nothing else installed."""
    yield TransportInfo(
        "direct", "a unix socket, on the same computer", "ramure.transports.direct:DirectTransport"
    )
    yield TransportInfo(
        "relay",
        "through a machine's relay: no network, no port",
        "ramure.transports.relay:RelayTransport",
    )
    yield TransportInfo(
        "websocket",
        "WebSocket, where the program asks for it with host=, port= or base_url=",
        "ramure.transports.websocket:WebSocketTransport",
    )
