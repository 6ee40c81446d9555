"""The transport through the relay: no network, no open port, nothing but the machine's own link."""

from __future__ import annotations

from typing import ClassVar, cast

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

        A machine that has no relay yet gets one, on its own Node.js.

        Raises:
            MachineError: there can be no relay on the machine, or it cannot listen.
            LinkBroken, MachineGone: it is out of reach for good.
        """
        if not isinstance(machine, RelayedMachine):
            raise MachineError("there can be no relay on it", machine=machine.name)
        await machine.start_relay()  # unless it is there
        relay = cast("Relay", machine.relay)
        return RelayRoute(relay, await relay.open_door(target.socket))
