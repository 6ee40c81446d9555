"""The transport for machines that are this computer: bridges dial the run's own unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ramure.errors import MachineError
from ramure.machine import Machine
from ramure.transport import Route, Target, Transport


@dataclass(frozen=True, slots=True)
class DirectRoute(Route):
    """The run's own socket; there is nothing to take down."""

    address: str


class DirectTransport(Transport):
    """Reaches the run from the computer and the user it runs on."""

    name: ClassVar[str] = "direct"

    async def open(self, machine: Machine, target: Target) -> Route:
        """Give the run's own unix socket.

        Raises:
            MachineError: the machine is another computer or container.
        """
        if not machine.here:
            raise MachineError(
                "the run's unix socket can only be reached from the computer the program runs on; "
                "use another transport, such as 'relay'",
                machine=machine.name,
            )
        return DirectRoute(f"unix:{target.socket}")
