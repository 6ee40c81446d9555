"""The backend: makes, finds and removes sandboxes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ramure.backends.local import LocalBackend, LocalImage, LocalMachine
from ramure.errors import PlacementError, ToolSetUnavailable
from ramure.machine import Backend, Image
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef
from ramure_bubblewrap.image import BubblewrapImage
from ramure_bubblewrap.machine import BubblewrapMachine
from ramure_bubblewrap.sandbox import Sandbox, begin

HERE = Host("local")
MINE = {"ramure.bubblewrap": "sandbox"}
"""A label that tells sandboxes from other local machines."""


# --8<-- [start:backend]
class BubblewrapBackend(Backend):
    """Sandboxes of this computer.

    Each is a tree of processes and a folder, as a local machine is. So each has one, which knows
    how to be found, and how to be removed with all that it has started, by any program.
    """

    name: ClassVar[str] = "bubblewrap"
    image_type = BubblewrapImage
    here: ClassVar[bool] = True

    def __init__(self) -> None:
        self._local = LocalBackend()

    def read_image(self, text: str | None) -> BubblewrapImage:
        """A folder of this computer that becomes the working directory."""
        if text is None:
            return BubblewrapImage()
        folder = Path(text).expanduser().absolute()
        if not folder.is_dir():
            raise PlacementError(
                f"image={text!r}: for bubblewrap an image is a folder to work in, and there is no "
                f"folder {folder}"
            )
        return BubblewrapImage(folder)

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> BubblewrapMachine:
        """See ``Backend.provision``."""
        self.check_host(host)
        if not isinstance(image, BubblewrapImage):
            raise PlacementError(
                f"the bubblewrap backend makes machines of BubblewrapImage, not of {image!r}"
            )
        local = await self._local.provision(
            LocalImage("/", env={"SANDBOX_ENV": json.dumps(dict(image.env))}),
            HERE,
            name=name,
            labels={**labels, **MINE},
        )
        try:
            mounted = await _assembled(tools, local)
            readable = [*image.readable, *mounted.values()]
            holder, sandbox = await begin(replace(image, readable=readable), local)
            sandbox.keep(local)
        except BaseException:
            await local.destroy()
            raise
        return BubblewrapMachine(local, sandbox, holder, mounted)

    async def attach(self, ref: MachineRef) -> BubblewrapMachine:
        """See ``Backend.attach``."""
        local = await self._local.attach(_local(ref))
        return BubblewrapMachine(local, Sandbox.kept(local))

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        found = await self._local.find({**labels, **MINE}, host=HERE)
        return [MachineRef(self.name, ref.name, ref.data) for ref in found]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        await self._local.destroy(_local(ref))


# --8<-- [end:backend]


def _local(ref: MachineRef) -> MachineRef:
    return MachineRef("local", ref.name, ref.data)


async def _assembled(tools: ToolSet | None, local: LocalMachine) -> dict[str, str]:
    """What the machine's agents need, as a folder of this computer that a sandbox can be shown."""
    if tools is None:
        return {}
    try:
        folder = await tools.assemble(await local.platform())
    except ToolSetUnavailable:  # all that is needed may be there
        return {}
    return {tools.name: str(folder)}
