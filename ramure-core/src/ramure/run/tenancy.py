"""A machine of a run: the wait for room on a host, and what is needed to give it up."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from ramure.machine import Machine
from ramure.placement import Placement
from ramure.transport import Route
from ramure.values import Host, Json

LONG_WAIT = 60.0
"""Seconds of waiting for room after which the person is told, beside the journal."""


@dataclass(slots=True)
class Tenancy:
    """A machine of this run and what is needed to give it up.

    Attributes:
        destroy: the machine's own ``destroy``; the one that programs call gives it up.
        lock: held while its route is being opened.
    """

    machine: Machine
    placement: Placement
    host: Host
    destroy: Callable[[], Awaitable[None]]
    route: Route | None = None
    lock: anyio.Lock = field(default_factory=anyio.Lock)


@dataclass(frozen=True, slots=True)
class Wait:
    """A machine for which there is no room yet.

    Attributes:
        machine: what it will be called.
        hosts: where it could be made, and how many machines each may have.
        held_by: machines of this run that are there.
    """

    machine: str
    hosts: dict[str, int | None]
    held_by: list[str]
    since: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        hosts = ", ".join(f"{host} (at most {limit})" for host, limit in self.hosts.items())
        held_by = ", ".join(self.held_by) or "those of other runs of this program"
        return f"{self.machine} waits for room on {hosts}; there are: {held_by}"

    def describe(self) -> dict[str, Json]:
        """What ``ramure status`` shows of it."""
        return {
            "machine": self.machine,
            "hosts": {host: limit for host, limit in self.hosts.items()},  # noqa: C416 its type
            "held_by": [*self.held_by],
            "seconds": round(time.monotonic() - self.since, 1),
        }
