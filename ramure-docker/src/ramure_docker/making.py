"""Making a container a machine: created, started, and with the tools that agents need in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import EndOfStream
from anyio.streams.buffered import BufferedByteStream

from ramure._work import in_thread, to_end
from ramure.errors import MachineStartFailed, ToolSetUnavailable
from ramure.toolset import Platform, ToolSet
from ramure.values import Host
from ramure_docker import pull, volumes
from ramure_docker.container import Container, remove
from ramure_docker.create import create
from ramure_docker.engine import POOL, THREADS, Engine
from ramure_docker.errors import NO_SHELL, NameTaken, lacks_shell
from ramure_docker.hostconfig import STATE, host_config
from ramure_docker.image import DockerImage
from ramure_docker.lease import Lease
from ramure_docker.machine import DockerMachine, Hold, PlainMachine
from ramure_docker.pulse import Pulse
from ramure_docker.streams import Streams
from ramure_docker.watch import Watch

if TYPE_CHECKING:
    from docker import APIClient

COMING_UP = 60.0
"""Seconds that a container may take from its start to its first word."""

RELEASING = 5.0
"""Seconds that an engine may take to free a removed container's name."""

READY = b"ready\n"

TOOLS = "/var/tmp/ramure/tools"  # noqa: S108 in a container
"""Where tool sets are brought that are no volumes."""


@dataclass(frozen=True, slots=True)
class Known:
    """A tool set that a kind of containers needs: its key, the platform, its Node.js."""

    key: str
    platform: Platform
    node: str

    @property
    def folder(self) -> str:
        """Where it is mounted."""
        return volumes.folder_of(self.key)


@dataclass(frozen=True, slots=True)
class Order:
    """A container that is wanted.

    Attributes:
        known: the tool sets that such containers need, by name; None for those that they do not.
    """

    image: DockerImage
    host: Host
    name: str
    labels: Mapping[str, str]
    known: dict[str, Known | None]


class Maker:
    """Makes the machines of one engine, and remembers what the kinds of them need."""

    def __init__(self, engine: Engine, watch: Watch, pulse: Pulse | None) -> None:
        self._engine, self._watch, self._pulse = engine, watch, pulse
        self._known: dict[tuple[str, DockerImage], dict[str, Known | None]] = {}

    async def provision(
        self,
        image: DockerImage,
        host: Host,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None,
    ) -> DockerMachine:
        """Make a machine; see ``Backend.provision``."""
        # What makes no sense is refused before anything is pulled.
        await in_thread(partial(host_config, image), pool=POOL, size=THREADS)
        kind = await pull.ensure(self._engine, image), image
        order = Order(image, host, name, labels, self._known.setdefault(kind, {}))
        if tools is not None and (found := order.known.get(tools.name)):
            await self._bring(order, tools, found)
        machine = await self._make(order)
        if tools is None or tools.name in order.known:
            return machine
        try:
            order.known[tools.name] = found = await _look(machine, tools)
            if found is None or not await self._bring(order, tools, found):
                return machine
        except BaseException:
            await machine.destroy()
            raise
        # Mounts are decided when a container is made. So this comes once for each kind of them.
        await machine.destroy()
        return await self._make_again(order)

    async def _make_again(self, order: Order) -> DockerMachine:
        """As ``_make``, where there was one of this name: the engine frees it a little late."""
        with anyio.move_on_after(RELEASING):
            while True:
                try:
                    return await self._make(order)
                except NameTaken:
                    await anyio.sleep(0.05)
        return await self._make(order)

    async def _bring(self, order: Order, tools: ToolSet, found: Known) -> bool:
        """See that the volume is there; False where the set is not to be had."""
        if await volumes.there(self._engine, [found.key]):
            return True
        try:
            source = await tools.assemble(found.platform)
        except ToolSetUnavailable:
            return False
        image = order.image.reference
        await volumes.ensure(self._engine, found.key, source, image=image, labels=order.labels)
        return True

    async def _make(self, order: Order) -> DockerMachine:
        sets = {name: found for name, found in order.known.items() if found is not None}
        there = await volumes.there(self._engine, [found.key for found in sets.values()])
        sets = {name: found for name, found in sets.items() if found.key in there}
        container, guard, facts = await self._start(order, there)
        plain = PlainMachine(
            container,
            workdir=facts["workdir"],
            state_dir=f"{STATE}/{order.name}",
            shell=facts.get("bash", "sh"),
            tools_dir=None if order.image.read_only else TOOLS,
            mounted_tools={name: found.folder for name, found in sets.items()},
        )
        keep = await self._keeping(guard)
        machine = DockerMachine(plain, self._watch, keep, order.image, order.host)
        nodes = (f"{found.folder}/{found.node}" for found in sets.values())
        if node := next(nodes, facts.get("node")):
            machine.raise_relay(node)
        return machine

    async def _keeping(self, guard: BufferedByteStream) -> Callable[[DockerMachine], Hold]:
        """How this program keeps its containers: by an open connection, or by signs of life."""
        if self._pulse is None:
            return lambda machine: Lease(machine.container, guard, machine.state_dir, machine.lease)
        await anyio.aclose_forcefully(guard)
        return self._pulse.keep

    async def _start(
        self, order: Order, keys: set[str]
    ) -> tuple[Container, BufferedByteStream, dict[str, str]]:
        """Create and start a container; give the connection to its guard, and what that says."""
        name = order.name
        mounted = {volumes.volume_of(key): volumes.folder_of(key) for key in keys}
        made: list[str] = []

        sign = "held" if self._pulse is None else "beat"

        def make(api: APIClient) -> None:
            made.append(
                create(
                    api,
                    order.image,
                    name=name,
                    labels=order.labels,
                    mounted=mounted,
                    sign=sign,
                )
            )

        try:
            await self._engine.call(make, name)
            await self._check_mounted(keys, name)
            guard = await self._attach(made[0], name)
            try:
                facts = await self._come_up(made[0], guard, name)
            except BaseException:
                await anyio.aclose_forcefully(guard)
                raise
        except BaseException:  # cancelled: the thread may have made it all the same
            for id_ in made:
                await to_end(partial(remove, self._engine, id_, name))
            raise
        return Container(self._engine, made[0], name), guard, facts

    async def _check_mounted(self, keys: set[str], name: str) -> None:
        """Where a volume was removed since we looked, the engine has made an empty one for it."""
        if keys != await volumes.there(self._engine, keys):
            raise MachineStartFailed("its tools have just been removed; try again", machine=name)

    async def _attach(self, id_: str, name: str) -> BufferedByteStream:
        """Before the start, so that no word is lost, and no moment is without a hold."""
        path = f"/containers/{id_}/attach"
        return await self._engine.hijack(path, machine=name, stream=1, stdin=1, stdout=1, stderr=1)

    async def _come_up(self, id_: str, guard: BufferedByteStream, name: str) -> dict[str, str]:
        try:
            with anyio.fail_after(COMING_UP):
                await self._engine.ask(
                    "POST", f"/containers/{id_}/start", machine=name, patience=COMING_UP
                )
                return await _facts(guard, name)
        except TimeoutError:
            raise MachineStartFailed(
                f"it did not come up within {COMING_UP:g} s", machine=name
            ) from None


async def _look(machine: DockerMachine, tools: ToolSet) -> Known | None:
    """Which set such machines need as a volume; None where there is no need of one."""
    if await tools.look(machine):
        return None
    platform = await machine.platform()
    return Known(tools.key(platform), platform, tools.node)


async def _facts(connection: BufferedByteStream, name: str) -> dict[str, str]:
    streams = Streams(connection, raw=False)
    said = b""
    try:
        while not said.endswith(READY):
            said += await streams.stdout.receive()
    except (EndOfStream, anyio.BrokenResourceError):
        with anyio.move_on_after(1), suppress(EndOfStream, anyio.BrokenResourceError):
            while True:  # its last words come in pieces
                said += await streams.stderr.receive()
        words = said.decode("utf-8", "replace").strip()
        what = f"the container ended at once: {words or 'without a word'}"
        raise MachineStartFailed(NO_SHELL if lacks_shell(words) else what, machine=name) from None
    lines = said.removesuffix(READY).decode("utf-8", "replace").splitlines()
    return dict(line.split(" ", 1) for line in lines)
