"""Machines on this computer that begin without a relay, as those of other computers may.

A module that is a plugin, too: ``Plugins.of(bare=bare_machines)`` has the backend ``bare``.
"""

from far_machines import FarBackend, FarImage, PlainMachine
from ramure import hookimpl
from ramure.hookspecs import BackendInfo
from ramure.relay import RelayedMachine
from ramure.values import Host

asked = []
"""The tool sets that machines were to be made with."""

tools_dir = None


class BareImage(FarImage):
    """What they start from."""

    backend = "bare"


class BareBackend(FarBackend):
    """Makes machines that have nothing but a way to open processes."""

    name = "bare"
    image_type = BareImage

    def read_image(self, text):
        return BareImage(self._local.read_image(text).workdir)

    async def provision(self, image, host, *, name, labels, tools=None):
        asked.append(tools)
        local = await self._local.provision(image, Host("local"), name=name, labels=labels)
        plain = PlainMachine(local)
        plain.tools_dir = tools_dir
        return RelayedMachine(plain)


@hookimpl
def ramure_register_backends():
    return [BackendInfo("bare", "bare", "bare_machines:BareBackend", "bare_machines:BareImage")]
