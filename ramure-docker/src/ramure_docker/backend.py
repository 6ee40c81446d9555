"""The Docker backend: makes, finds and removes containers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import anyio
from anyio import EndOfStream
from anyio.streams.buffered import BufferedByteStream

from ramure._work import in_thread, to_end
from ramure.errors import MachineError, MachineStartFailed, PlacementError
from ramure.machine import Backend, Image
from ramure.toolset import ToolSet
from ramure.values import Host, MachineRef
from ramure_docker import address as addresses
from ramure_docker import pull
from ramure_docker.address import Address
from ramure_docker.container import Container, remove
from ramure_docker.create import FOLDER, STATE, create
from ramure_docker.engine import POOL, Engine
from ramure_docker.image import DockerImage
from ramure_docker.machine import DockerMachine, PlainMachine, address_of
from ramure_docker.streams import Streams
from ramure_docker.watch import Watch

if TYPE_CHECKING:
    from docker import APIClient

COMING_UP = 60.0
"""Seconds that a container may take from its start to its first word."""

READY = b"ready\n"


class DockerBackend(Backend):
    """Containers of any engine. Kept connections, one set for each engine."""

    name: ClassVar[str] = "docker"
    image_type = DockerImage

    def __init__(self) -> None:
        self._engines: dict[Address, tuple[Engine, Watch]] = {}

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

    async def _engine(self, host: Host) -> tuple[Engine, Watch]:
        return self._engine_at(await in_thread(partial(addresses.resolve, host), pool=POOL))

    def _engine_at(self, address: Address) -> tuple[Engine, Watch]:
        if address not in self._engines:
            engine = Engine(address)
            self._engines[address] = engine, Watch(engine)
        return self._engines[address]

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
            engine, watch = await self._engine(host)
            await pull.ensure(engine, image)
            return await self._make(engine, watch, image, name=name, labels=labels)
        except MachineStartFailed:
            raise
        except MachineError as error:
            raise MachineStartFailed(str(error)) from error

    async def _make(
        self,
        engine: Engine,
        watch: Watch,
        image: DockerImage,
        *,
        name: str,
        labels: Mapping[str, str],
    ) -> DockerMachine:
        made: list[str] = []

        def make(api: APIClient) -> None:
            made.append(create(api, image, name=name, labels=labels))

        try:
            await engine.call(make, name)
            guard, facts = await self._start(engine, made[0], name)
        except BaseException:  # cancelled: the thread may have made it all the same
            for id_ in made:
                await to_end(partial(remove, engine, id_, name))
            raise
        container = Container(engine, made[0], name)
        plain = PlainMachine(
            container,
            workdir=facts["workdir"],
            state_dir=f"{STATE}/{name}",
            shell=facts.get("bash", "sh"),
        )
        machine = DockerMachine(plain, watch, guard, lease=image.lease)
        if "node" in facts:
            machine.raise_relay(facts["node"])
        return machine

    async def _start(
        self, engine: Engine, id_: str, name: str
    ) -> tuple[BufferedByteStream, dict[str, str]]:
        """Start a container; give the connection to its guard, and what that says is in it."""
        guard = await engine.hijack(
            f"/containers/{id_}/attach", machine=name, stream=1, stdin=1, stdout=1, stderr=1
        )
        try:
            with anyio.fail_after(COMING_UP):
                await engine.call(lambda api: api.start(id_), name)
                return guard, await _facts(guard, name)
        except BaseException as error:
            await anyio.aclose_forcefully(guard)
            if not isinstance(error, TimeoutError):
                raise
        raise MachineStartFailed(f"it did not come up within {COMING_UP:g} s", machine=name)

    async def attach(self, ref: MachineRef) -> PlainMachine:
        """See ``Backend.attach``."""
        engine, _ = self._engine_at(address_of(ref))
        container = Container(engine, str(ref.data["id"]), ref.name)
        await container.check()
        said = await engine.call(lambda api: api.inspect_container(container.id), ref.name)
        found = await container.say(["sh", "-c", "command -v bash"])
        return PlainMachine(
            container,
            workdir=said["Config"].get("WorkingDir") or "/",
            state_dir=said["Config"]["Labels"].get(FOLDER, f"{STATE}/{ref.name}"),
            shell=found.decode().strip() or "sh",
        )

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        engine, _ = await self._engine(host)
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        found = await engine.call(lambda api: api.containers(all=True, filters=wanted))
        data = engine.address.as_data()
        return [
            MachineRef("docker", entry["Names"][0].lstrip("/"), {"id": entry["Id"], **data})
            for entry in found
        ]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        engine, _ = self._engine_at(address_of(ref))
        await to_end(partial(remove, engine, str(ref.data["id"]), ref.name), 30)

    async def aclose(self) -> None:
        """See ``Backend.aclose``."""
        engines, self._engines = list(self._engines.values()), {}
        for engine, watch in engines:
            await watch.aclose()
            await engine.aclose()


async def _facts(connection: BufferedByteStream, name: str) -> dict[str, str]:
    streams = Streams(connection, raw=False)
    said = b""
    try:
        while not said.endswith(READY):
            said += await streams.stdout.receive()
    except (EndOfStream, anyio.BrokenResourceError):
        with anyio.move_on_after(1):
            said += await streams.stderr.receive()
        words = said.decode("utf-8", "replace").strip()
        raise MachineStartFailed(
            f"the container ended at once: {words or 'without a word'}", machine=name
        ) from None
    lines = said.removesuffix(READY).decode("utf-8", "replace").splitlines()
    return dict(line.split(" ", 1) for line in lines)
