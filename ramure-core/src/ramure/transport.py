"""The contract of transports: what makes the run reachable from a machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ramure.machine import Machine


@dataclass(frozen=True, slots=True)
class Target:
    """Where the run listens for agents, on the computer the program runs on.

    Attributes:
        socket: path of a unix socket, owner-only; always there.
        url: the WebSocket URL that agents are told, where the program asked for one.
    """

    socket: str
    url: str | None = None


class Route(ABC):
    """A way from one machine to the run.

    Attributes:
        address: what a bridge on the machine dials: ``unix:/absolute/path`` (one message a line),
            ``ws://…`` or ``wss://…`` (one message a frame).
    """

    address: str

    async def aclose(self) -> None:
        """Take the way down. Idempotent."""


class Transport(ABC):
    """Opens routes. One object serves one run.

    Attributes:
        name: as registered, and as in ``Machine.transports``.
    """

    name: ClassVar[str]

    @abstractmethod
    async def open(self, machine: Machine, target: Target) -> Route:
        """Make the run reachable from ``machine``.

        Raises:
            MachineError: it cannot be done; the message says why and what to do.
        """

    async def aclose(self) -> None:
        """Close what is kept between routes."""
