"""The Modal backend: sandboxes in Modal's cloud. What needs the SDK is in ``fleet.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ramure.errors import PlacementError
from ramure.machine import Backend, Image
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef
from ramure_modal.image import ModalImage

if TYPE_CHECKING:
    from ramure_modal.fleet import Fleet
    from ramure_modal.machine import ModalMachine


class ModalBackend(Backend):
    """Makes sandboxes. The SDK is imported when one is asked for."""

    name = "modal"
    image_type = ModalImage

    def __init__(self) -> None:
        self._sandboxes: Fleet | None = None

    def read_image(self, text: str | None) -> ModalImage:
        """A registry reference, or the id of one of Modal's images."""
        if text is not None and not re.fullmatch(r"[A-Za-z0-9][^\s]*", text):
            raise PlacementError(
                f"image={text!r}: for Modal an image is a registry reference such as"
                " 'python:3.12', or an id such as 'im-…'"
            )
        return ModalImage(text)

    def check_host(self, host: Host) -> None:
        """``modal``, or ``modal://app-name``."""
        if host.variant:
            raise PlacementError(f"host={str(host)!r}: 'modal' has no variants")
        if host.location is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", host.location):
            raise PlacementError(
                f"host={str(host)!r}: after modal:// comes an app's name: letters, digits, - _ ."
            )

    @property
    def _fleet(self) -> Fleet:
        from ramure_modal.fleet import Fleet

        self._sandboxes = self._sandboxes or Fleet()
        return self._sandboxes

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> ModalMachine:
        """See ``Backend.provision``."""
        self.check_host(host)
        if not isinstance(image, ModalImage):
            raise PlacementError(f"Modal makes sandboxes of ModalImage, not of {image!r}")
        return await self._fleet.provision(image, host.location, name, labels, tools)

    async def attach(self, ref: MachineRef) -> ModalMachine:
        """See ``Backend.attach``."""
        return await self._fleet.attach(ref)

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``. What has ended costs nothing and is not found."""
        return await self._fleet.find(labels, host.location)

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        await self._fleet.destroy(ref)

    async def aclose(self) -> None:
        """See ``Backend.aclose``."""
        if self._sandboxes is not None:
            await self._sandboxes.aclose()
