"""Hosts of which some do not answer. A module that is a plugin, too: its backend is ``odd``."""

import anyio

from ramure import hookimpl
from ramure.hookspecs import BackendInfo
from ramure.machine import Backend, Image


class OddImage(Image):
    """What nothing is made from."""

    backend = "odd"


class OddHosts(Backend):
    """``odd://silent`` never answers, ``odd://broken`` refuses; the others obey."""

    name = "odd"
    image_type = OddImage
    asked = []  # noqa: RUF012 for tests to look at
    destroyed = []  # noqa: RUF012
    at_once = []  # noqa: RUF012
    destroying = 0

    async def find(self, labels, *, host):
        OddHosts.asked.append(host.location)
        if host.location == "silent":
            await anyio.sleep_forever()
        if host.location == "broken":
            raise OSError("no route to host")
        return []

    async def destroy(self, ref):
        OddHosts.destroying += 1
        OddHosts.at_once.append(OddHosts.destroying)
        await anyio.sleep(0.01)
        OddHosts.destroying -= 1
        if "bad" in ref.name:
            raise OSError("it is in use")
        OddHosts.destroyed.append(ref.name)

    def read_image(self, text):
        raise NotImplementedError

    async def provision(self, image, host, *, name, labels, tools=None):
        raise NotImplementedError

    async def attach(self, ref):
        raise NotImplementedError


@hookimpl
def ramure_register_backends():
    return [BackendInfo("odd", "For tests.", "odd_hosts:OddHosts", "odd_hosts:OddImage")]
