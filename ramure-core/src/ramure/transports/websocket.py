"""The transport over WebSocket, for programs that ask for a port with ``host=`` or ``port=``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ramure.errors import MachineError
from ramure.machine import Machine
from ramure.transport import Route, Target, Transport

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class WebSocketRoute(Route):
    """A URL that the program said leads to the run; there is nothing to take down."""

    address: str


class WebSocketTransport(Transport):
    """Tells agents the URL of the run's WebSocket listener."""

    name: ClassVar[str] = "websocket"

    async def open(self, machine: Machine, target: Target) -> Route:
        """Give the run's URL; ``http`` and ``https`` are read as ``ws`` and ``wss``.

        Raises:
            MachineError: the program opened no such listener, or its URL is none.
        """
        if not target.url:
            raise MachineError(
                "the run listens on no port; give @agent_process host= or port= "
                "(and base_url= where agents reach it by another name)",
                machine=machine.name,
            )
        scheme, separator, rest = target.url.partition("://")
        if not separator or not rest or scheme.lower() not in _SCHEMES:
            raise MachineError(
                f"base_url={target.url!r} is not a URL that agents can dial: "
                "it has to start with ws:// or wss://",
                machine=machine.name,
            )
        return WebSocketRoute(f"{_SCHEMES[scheme.lower()]}://{rest}")
