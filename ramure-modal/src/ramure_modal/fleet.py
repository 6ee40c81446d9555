"""A run's sandboxes: making them, finding them again, ending them. Imports the SDK."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import anyio
import modal

from ramure._work import to_end
from ramure.errors import MachineGone, MachineStartFailed, RelayUnavailable
from ramure.toolset import ToolSet
from ramure.values import MachineRef
from ramure_modal import cloud, errors, layers
from ramure_modal.image import ModalImage
from ramure_modal.machine import ModalMachine
from ramure_modal.pulse import Pulse
from ramure_modal.sandbox import Facts, SandboxMachine, say, terminate
from ramure_modal.scripts import script
from ramure_modal.sdk import call

NAME = "ramure.name"
"""The label that holds a machine's name."""

MEMORY, DISK = "/dev/shm", "/var/lib"  # noqa: S108 in a sandbox nobody else is
"""Where state folders are: in memory, so that no snapshot holds them, or where there is none."""


class Fleet:
    """The sandboxes of one run."""

    def __init__(self) -> None:
        self._pulse = Pulse()
        # With the source, which must not be another object of the same id later.
        self._built: dict[tuple[object, ...], tuple[ModalImage, modal.Image]] = {}
        self._building: defaultdict[object, anyio.Lock] = defaultdict(anyio.Lock)

    async def provision(
        self,
        image: ModalImage,
        app_name: str | None,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None,
    ) -> ModalMachine:
        """See ``Backend.provision``."""
        app = await cloud.find_app(app_name, create=True)
        assert app is not None
        packed = None if tools is None else await self._pack(tools)
        built = await self._build(image, packed, app, name)
        lease_file = f"{MEMORY}/ramure-{name}.lease"
        marks = {**labels, NAME: name}
        sandbox = await cloud.create(app, image, built, name, marks, lease_file)
        made: list[ModalMachine] = []
        try:
            plain = await _prepared(sandbox, image, app_name, name)
            plain.lease_file = lease_file
            made.append(ModalMachine(plain, lease_file, pulse=self._pulse))
            await self._pulse.keep(made[0])
            await _start_relay(made[0], packed)
        except BaseException as error:
            end = made[0].destroy if made else partial(terminate, sandbox, name)
            await to_end(end, cloud.CREATION)
            if isinstance(error, Exception):
                raise errors.start_failed(error, name) from error
            raise
        return made[0]

    async def _pack(self, tools: ToolSet) -> layers.Packed | None:
        async with self._building[tools.name]:
            return await layers.pack(tools)

    async def _build(
        self, image: ModalImage, packed: layers.Packed | None, app: modal.App, name: str
    ) -> modal.Image:
        """The image with the tool set in it. Modal builds what it has not built yet."""
        source = image.source
        key = (
            source if source is None or isinstance(source, str) else id(source),
            image.add_python,
            packed and packed.key,
        )
        async with self._building[key]:  # twenty at once need one
            if key not in self._built:
                plain = cloud.layers(image)
                whole = plain if packed is None else layers.add(plain, packed)
                self._built[key] = image, await cloud.build(whole, app, name)
            return self._built[key][1]

    async def attach(self, ref: MachineRef) -> ModalMachine:
        """See ``Backend.attach``."""
        try:
            sandbox = await self._sandbox(ref)
            if sandbox is not None and await _runs(sandbox):
                app_name = str(ref.data.get("app") or cloud.APP)
                workdir = ref.data.get("workdir")
                image = ModalImage(workdir=str(workdir) if workdir else None)
                return ModalMachine(await _prepared(sandbox, image, app_name, ref.name), "")
        except Exception as error:
            raise errors.in_use(error, ref.name) from error
        raise MachineGone("the sandbox has ended", machine=ref.name)

    async def find(self, labels: Mapping[str, str], app_name: str | None) -> list[MachineRef]:
        """See ``Backend.find``."""
        app = await cloud.find_app(app_name, create=False)
        found = []
        for sandbox in await cloud.listed(app, labels) if app else []:
            marks = await cloud.marks(sandbox)
            found.append(_ref(sandbox, app_name, marks.get(NAME, sandbox.object_id)))
        return found

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        if sandbox := await self._sandbox(ref):
            await to_end(partial(terminate, sandbox, ref.name), cloud.ANSWER)

    async def _sandbox(self, ref: MachineRef) -> modal.Sandbox | None:
        if identity := ref.data.get("sandbox"):
            return await cloud.known(str(identity), ref.name)
        app = await cloud.find_app(str(ref.data.get("app") or cloud.APP), create=False)
        found = await cloud.listed(app, {NAME: ref.name}) if app else []
        return found[0] if found else None

    async def aclose(self) -> None:
        """End what is kept for the sandboxes; they live on."""
        await self._pulse.aclose()


def _ref(sandbox: modal.Sandbox, app_name: str | None, name: str, **more: str) -> MachineRef:
    data = {"app": app_name or cloud.APP, "sandbox": sandbox.object_id, **more}
    return MachineRef("modal", name, data)


async def _runs(sandbox: modal.Sandbox) -> bool:
    with anyio.fail_after(cloud.ANSWER):
        return await call(sandbox.poll.aio) is None


async def _prepared(
    sandbox: modal.Sandbox, image: ModalImage, app_name: str | None, name: str
) -> SandboxMachine:
    """Wait until the sandbox is up, and make its folders."""
    state = (f"{MEMORY}/ramure-{name}", f"{DISK}/ramure-{name}")
    try:
        with anyio.fail_after(image.start_timeout):
            said = await say(sandbox, *script("prepare", *state, image.workdir or ""))
    except TimeoutError:
        raise MachineStartFailed(
            f"the sandbox did not come up within {image.start_timeout:g} s: Modal may lack what it "
            "asks for (gpu=, region=, memory=); ModalImage(start_timeout=…) waits longer",
            machine=name,
        ) from None
    facts = Facts.read(said)
    ref = _ref(sandbox, app_name, name, workdir=facts.workdir)
    return SandboxMachine(sandbox, ref, image, facts)


async def _start_relay(machine: ModalMachine, packed: layers.Packed | None) -> None:
    """Start the relay where its Node.js is at hand: in the tool set, or in the image."""
    if packed is not None:
        with suppress(RelayUnavailable):  # an image of another kind: the set does not run there
            await machine.start_relay(packed.node)
            machine.mount({packed.name: packed.folder})
            return
    if machine.facts.node:
        with suppress(RelayUnavailable):  # too old: the machine serves without it
            await machine.start_relay(machine.facts.node)
