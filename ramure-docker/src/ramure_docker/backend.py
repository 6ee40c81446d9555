"""The Docker backend: makes, finds and removes containers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, NamedTuple

from ramure._work import in_thread
from ramure.errors import MachineError, MachineStartFailed, PlacementError
from ramure.machine import Backend, Image
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef
from ramure_docker import address as addresses
from ramure_docker import snapshot, volumes
from ramure_docker.address import Address
from ramure_docker.container import Container, inspect, remove_to_end
from ramure_docker.create import FOLDER
from ramure_docker.engine import POOL, Engine
from ramure_docker.hostconfig import STATE
from ramure_docker.image import DockerImage
from ramure_docker.machine import DockerMachine, PlainMachine, address_of
from ramure_docker.making import Maker
from ramure_docker.pulse import Pulse
from ramure_docker.watch import Watch


class Site(NamedTuple):
    """An engine, and all that is kept for it."""

    engine: Engine
    watch: Watch
    maker: Maker
    pulse: Pulse | None


class DockerBackend(Backend):
    """Containers of any engine. Kept connections, one set for each engine."""

    name: ClassVar[str] = "docker"
    image_type = DockerImage

    def __init__(self) -> None:
        self._sites: dict[Address, Site] = {}
        self._addresses: dict[Host, Address] = {}

    # --- texts

    def read_image(self, text: str | None) -> DockerImage:
        """An image's reference; the engine says whether there is one."""
        if text is None:
            return DockerImage()
        if text != text.strip() or not text or any(c.isspace() for c in text):
            raise PlacementError(
                f"image={text!r}: an image of Docker is a name such as python:3.12"
            )
        return DockerImage(text)

    def check_host(self, host: Host) -> None:
        """See ``Backend.check_host``."""
        addresses.check(host)

    def adopt_host(self, host: Host) -> Host | None:
        """The engine on a computer that is reached by ssh."""
        if host.backend == "ssh" and host.variant is None and host.location:
            return Host("docker", "ssh", host.location)
        return None

    # --- engines

    async def _site(self, host: Host) -> Site:
        # Asked once: for one run a host is one engine, whatever the settings become.
        if host not in self._addresses:
            resolve = partial(addresses.resolve, host)
            self._addresses[host] = await in_thread(resolve, pool=POOL)
        return self._site_at(self._addresses[host])

    def _site_at(self, address: Address) -> Site:
        if address not in self._sites:
            engine = Engine(address)
            watch = Watch(engine)
            # The end of another computer, or of a network, closes no connection.
            pulse = None if address.here else Pulse(address)
            self._sites[address] = Site(engine, watch, Maker(engine, watch, pulse), pulse)
        return self._sites[address]

    # --- machines

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> DockerMachine:
        """See ``Backend.provision``.

        Raises:
            ImageNotFound, NoSpace, NameTaken: as their names say; ``MachineStartFailed`` all.
        """
        self.check_host(host)
        if not isinstance(image, DockerImage):
            raise PlacementError(
                f"the docker backend makes machines of DockerImage, not of {image!r}"
            )
        try:
            maker = (await self._site(host)).maker
            return await maker.provision(image, host, name, labels, tools)
        except MachineStartFailed:
            raise
        except MachineError as error:
            raise MachineStartFailed(str(error)) from error

    async def attach(self, ref: MachineRef) -> PlainMachine:
        """See ``Backend.attach``."""
        engine = self._site_at(address_of(ref)).engine
        container = Container(engine, str(ref.data["id"]), ref.name)
        await container.check()
        said = await inspect(engine, container.id, ref.name)
        found = await container.say(["sh", "-c", "command -v bash"])
        return PlainMachine(
            container,
            workdir=said["Config"].get("WorkingDir") or "/",
            state_dir=said["Config"]["Labels"].get(FOLDER, f"{STATE}/{ref.name}"),
            shell=found.decode().strip() or "sh",
        )

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        engine = (await self._site(host)).engine
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        found = await engine.call(lambda api: api.containers(all=True, filters=wanted))
        data = engine.address.as_data()
        return [
            MachineRef("docker", entry["Names"][0].lstrip("/"), {"id": entry["Id"], **data})
            for entry in found
        ]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        engine = self._site_at(address_of(ref)).engine
        await remove_to_end(engine, str(ref.data["id"]), ref.name)

    async def remove_caches(self, host: Host, *, dry_run: bool = False) -> list[str]:
        """See ``Backend.remove_caches``: volumes of tool sets, and images of forks."""
        engine = (await self._site(host)).engine
        sets, forks = await volumes.unused(engine), await snapshot.unused_forks(engine)
        if dry_run:
            return [*sets, *forks]
        removed = [volume for volume in sets if await volumes.forget(engine, volume)]
        return removed + [image for image in forks if await snapshot.forget(engine, image)]

    async def aclose(self) -> None:
        """See ``Backend.aclose``."""
        sites, self._sites = list(self._sites.values()), {}
        self._addresses.clear()
        for site in sites:
            await site.maker.aclose()
            await site.watch.aclose()
            if site.pulse is not None:
                await site.pulse.aclose()
            await site.engine.aclose()
