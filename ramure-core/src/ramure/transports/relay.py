"""The transport through the relay: no network, no open port, nothing but the machine's own link."""

from __future__ import annotations

from typing import ClassVar

from ramure.errors import MachineError
from ramure.machine import Machine
from ramure.relay import RelayedMachine
from ramure.relay.doors import Door
from ramure.relay.machine import Relay
from ramure.transport import Route, Target, Transport


class RelayRoute(Route):
    """A socket on the machine whose connections the relay carries to the run."""

    def __init__(self, relay: Relay, door: Door) -> None:
        self.address = f"unix:{door.path}"
        self._relay, self._door = relay, door

    async def aclose(self) -> None:
        """See ``Route``."""
        self._relay.close_door(self._door)


class RelayTransport(Transport):
    """Reaches the run from every machine that a relay runs on."""

    name: ClassVar[str] = "relay"

    async def open(self, machine: Machine, target: Target) -> Route:
        """Listen on the machine, at a unix socket that only its user can reach.

        Raises:
            MachineError: there is no relay on the machine, or it cannot listen.
            LinkBroken, MachineGone: it is out of reach for good.
        """
        relay = machine.relay if isinstance(machine, RelayedMachine) else None
        if relay is None:
            raise MachineError(
                "there is no relay on it, which would lead from it to the run (it needs Node.js 18 "
                "or newer there); use another transport",
                machine=machine.name,
            )
        return RelayRoute(relay, await relay.open_door(target.socket))
