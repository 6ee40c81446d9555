"""Making a container a machine: created, started, and with the tools that agents need in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import anyio
from anyio import EndOfStream
from anyio.streams.buffered import BufferedByteStream

from ramure._work import in_thread, to_end
from ramure.errors import MachineStartFailed, ToolSetUnavailable
from ramure.toolset import Platform, ToolSet
from ramure.values import Host
from ramure_docker import pull, volumes
from ramure_docker.chores import Chores
from ramure_docker.container import Container, remove
from ramure_docker.create import create_config
from ramure_docker.engine import PATIENCE, POOL, THREADS, Engine
from ramure_docker.errors import NO_SHELL, NameTaken, lacks_shell
from ramure_docker.hostconfig import STATE, host_config
from ramure_docker.image import DockerImage
from ramure_docker.lease import Lease
from ramure_docker.machine import DockerMachine, Hold, PlainMachine
from ramure_docker.pulse import Pulse
from ramure_docker.streams import Streams
from ramure_docker.volumes import Volume
from ramure_docker.watch import Watch

COMING_UP = 60.0
"""Seconds that a container may take from its start to its first word."""

RELEASING = 5.0
"""Seconds that an engine may take to free a removed container's name."""

FILLING = 15.0
"""Seconds that a volume stays locked after the end of a program that was filling it."""

UNDOING = 10.0
"""Seconds that whoever gives up a container waits for its removal, which then goes on alone."""

ROOM = 256 << 20
"""Bytes of memory with which a container gets a relay unasked; Node.js alone takes 50 MB."""

READY = b"ready\n"

TOOLS = "/var/tmp/ramure/tools"  # noqa: S108 in a container
"""Where tool sets are brought that are no volumes."""


@dataclass(frozen=True, slots=True)
class Order:
    """A container that is wanted.

    Attributes:
        needs: whether such containers need a tool set, by its name, as far as that is known.
    """

    image: DockerImage
    host: Host
    name: str
    labels: Mapping[str, str]
    needs: dict[str, bool] = field(default_factory=dict)


class Maker:
    """Makes the machines of one engine, and remembers what the kinds of them need."""

    def __init__(self, engine: Engine, watch: Watch, pulse: Pulse | None) -> None:
        self._engine, self._watch, self._pulse = engine, watch, pulse
        self._needs: dict[tuple[str, DockerImage], dict[str, bool]] = {}
        self._full: set[str] = set()
        self._bringing = anyio.Lock()
        self._chores = Chores()

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
        order = Order(image, host, name, labels, self._needs.setdefault(kind, {}))
        machine = await self._make(order)
        if tools is None:
            return machine
        try:
            if await self._is_fit(machine, order, tools):
                return machine
            if not await self._bring(machine, order, tools):
                return machine
        except BaseException:
            await machine.destroy()
            raise
        # Mounts are decided when a container is made. So this comes once for each set.
        await machine.destroy()
        return await self._make_again(order)

    async def _is_fit(self, machine: DockerMachine, order: Order, tools: ToolSet) -> bool:
        """Whether all is there that agents need: in the image, or at hand."""
        if tools.name not in order.needs:
            order.needs[tools.name] = not await tools.look(machine)
        return not order.needs[tools.name] or machine.use(tools.name)

    async def _make_again(self, order: Order) -> DockerMachine:
        """As ``_make``, where there was one of this name: the engine frees it a little late."""
        with anyio.move_on_after(RELEASING):
            while True:
                try:
                    return await self._make(order)
                except NameTaken:
                    await anyio.sleep(0.05)
        return await self._make(order)

    async def _bring(self, machine: DockerMachine, order: Order, tools: ToolSet) -> bool:
        """See that there is a full volume; False where the set is not to be had."""
        platform = await machine.platform()
        wanted = Volume(tools.key(platform), tools.name, platform, tools.node)
        try:
            source = await tools.assemble(platform)
        except ToolSetUnavailable:
            return False
        lock = partial(self._lock, order)
        async with self._bringing:  # others of this program find it full
            if not (wanted.key in self._full and wanted in await volumes.kept(self._engine)):
                await volumes.ensure(self._engine, wanted, source, lock=lock)
                self._full.add(wanted.key)
        return True

    async def _lock(self, order: Order, wanted: Volume) -> tuple[DockerMachine, bool]:
        """Make the container that fills a volume; tell whether that is full already."""
        image = DockerImage(
            order.image.reference,
            volumes={wanted.volume: wanted.folder},
            platform=order.image.platform,
            network="none",
            user="0",
            lease=FILLING,
        )
        filling = replace(order, image=image, name=wanted.lock)
        container, guard, facts = await self._start(filling, [])
        machine = self._machine(filling, container, guard, facts)
        try:
            # While the engine copies something into a container, it does nothing else with it.
            await machine.kept()
        except BaseException:
            await machine.destroy()
            raise
        return machine, wanted.key in facts["sets"].split()

    async def _make(self, order: Order) -> DockerMachine:
        kept = await volumes.kept(self._engine)
        container, guard, facts = await self._start(order, kept)
        full = set(facts["sets"].split())
        self._full = self._full - {volume.key for volume in kept} | full
        fit = {
            volume.name: volume for volume in kept if volume.key in full and _fits(volume, facts)
        }
        machine = self._machine(order, container, guard, facts, fit)
        for name in fit:
            if order.needs.get(name):
                machine.use(name)
        nodes = (f"{volume.folder}/{volume.node}" for volume in fit.values())
        node = next(nodes, facts.get("node"))
        if node is not None and _has_room(order.image):
            machine.raise_relay(node)
        return machine

    def _machine(
        self,
        order: Order,
        container: Container,
        guard: BufferedByteStream,
        facts: Mapping[str, str],
        sets: Mapping[str, Volume] = MappingProxyType({}),
    ) -> DockerMachine:
        plain = PlainMachine(
            container,
            workdir=facts["workdir"],
            state_dir=f"{STATE}/{order.name}",
            shell=facts.get("bash", "sh"),
            tools_dir=None if order.image.read_only else TOOLS,
        )
        keep = self._keeping(guard)
        return DockerMachine(plain, self._watch, keep, order.image, order.host, sets)

    def _keeping(self, guard: BufferedByteStream) -> Callable[[DockerMachine], Hold]:
        """How this program keeps its containers: by an open connection, or by signs of life."""
        if self._pulse is None:
            return lambda machine: Lease(machine.container, guard, machine.state_dir, machine.lease)
        return self._pulse.keep

    async def _start(
        self, order: Order, sets: Collection[Volume]
    ) -> tuple[Container, BufferedByteStream, dict[str, str]]:
        """Create and start a container; give the connection to its guard, and what that says."""
        name = order.name
        creating = self._chores.begin(partial(self._create, order, sets), f"creating {name}")
        try:
            await asyncio.wait([creating])
            id_ = creating.result()
            guard = await self._attach(id_, name)
            try:
                facts = await self._come_up(id_, guard, name)
            except BaseException:
                await anyio.aclose_forcefully(guard)
                raise
            if self._pulse is not None:  # which gives signs of life instead
                await anyio.aclose_forcefully(guard)
        except BaseException:  # cancelled: the engine may make it all the same
            await to_end(partial(self._undo, name, creating=creating), UNDOING)
            raise
        return Container(self._engine, id_, name), guard, facts

    async def _create(self, order: Order, sets: Collection[Volume]) -> str:
        """Create a container, and give its id."""
        describe = partial(
            create_config,
            image=order.image,
            name=order.name,
            labels=order.labels,
            sets=sets,
            sign="held" if self._pulse is None else "beat",
        )
        platform = {"platform": order.image.platform} if order.image.platform else {}
        made = await self._engine.ask(
            "POST",
            "/containers/create",
            await self._engine.call(describe, order.name),
            machine=order.name,
            patience=PATIENCE,
            again=False,
            name=order.name,
            **platform,
        )
        return str(made["Id"])

    async def _undo(self, name: str, *, creating: asyncio.Task[str]) -> None:
        """Remove a container as soon as it has been created, also where nobody waits any longer."""

        async def undo() -> None:
            await asyncio.wait([creating])
            if not creating.cancelled() and creating.exception() is None:
                await remove(self._engine, creating.result(), name)

        await asyncio.wait([self._chores.begin(undo, f"removing {name}")])

    async def aclose(self) -> None:
        """Wait no longer for what is still to be removed: the run's ledger knows of it."""
        await self._chores.aclose()

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


def _has_room(image: DockerImage) -> bool:
    """Whether a relay takes nothing that the program's own commands may need."""
    from docker.utils import parse_bytes

    return image.memory is None or parse_bytes(image.memory) >= ROOM


def _fits(volume: Volume, facts: Mapping[str, str]) -> bool:
    """Whether a tool set is for such machines."""
    with suppress(ValueError, KeyError):
        return volume.platform == Platform.read(facts["platform"])
    return False


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
