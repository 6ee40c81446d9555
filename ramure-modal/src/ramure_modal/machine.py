"""A Modal sandbox, reached through a relay once there is one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ramure.machine import Machine
from ramure.relay import RelayedMachine
from ramure.relay.machine import HEARTBEAT
from ramure_modal.image import ModalImage
from ramure_modal.sandbox import Facts, SandboxMachine

if TYPE_CHECKING:
    import modal

    from ramure_modal.pulse import Pulse


class ModalMachine(RelayedMachine):
    """A sandbox in Modal's cloud.

    Attributes:
        sandbox: the SDK's own object, for what ramure has no words for.
        image: what it was made of.
        lease_file: where the program's signs of life go.
        made: Unix time of its making.
    """

    def __init__(
        self, plain: SandboxMachine, lease_file: str, *, pulse: Pulse | None = None
    ) -> None:
        lease = plain.image.lease
        super().__init__(plain, lease=lease, heartbeat=min(HEARTBEAT, lease / 4))
        self._plain = plain
        self._pulse = pulse
        self.lease_file = lease_file
        self.made = time.time()

    @property
    def sandbox(self) -> modal.Sandbox:
        """The SDK's own object."""
        return self._plain.sandbox

    @property
    def image(self) -> ModalImage:
        """What it was made of."""
        return self._plain.image

    @property
    def last_image(self) -> ModalImage | None:
        """The snapshot that was taken before its end."""
        return self._plain.last_image

    @last_image.setter
    def last_image(self, image: ModalImage) -> None:
        self._plain.last_image = image

    @property
    def facts(self) -> Facts:
        """What the sandbox is like."""
        return self._plain.facts

    @property
    def unkilled(self) -> set[str]:
        """See ``SandboxMachine``."""
        return self._plain.unkilled

    def mount(self, folders: Mapping[str, str]) -> None:
        """Say where tool sets are, which are part of the image."""
        self.mounted_tools = self._plain.mounted_tools = folders

    def ended(self, code: int) -> None:
        """The sandbox has ended with this code."""
        self._plain.ended(code)

    async def snapshot(self) -> ModalImage:
        """Its files, as an image that further sandboxes can be made of.

        What is kept in memory is not in it: processes, and the state folder with the keys and
        tokens of the run. Modal keeps it for 30 days.

        Raises:
            MachineError: it could not be taken, or would hold keys.
        """
        return await self._plain.snapshot()

    async def fork(self) -> Machine:
        """Another machine of the process with the same files, in the same app.

        See ``ramure.machine``.
        """
        import ramure

        return await ramure.machine(
            image=await self.snapshot(), host=f"modal://{self.ref.data['app']}"
        )

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        if self._pulse is not None:
            self._pulse.drop(self)
        await super().destroy()
