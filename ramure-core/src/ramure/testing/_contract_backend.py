"""The backend contract: from a name that is decided before to nothing that is left."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import ClassVar

import anyio
import msgspec
import pytest

from ramure.errors import MachineError, MachineGone, PlacementError
from ramure.machine import Backend, Image, Machine
from ramure.placement import read_host
from ramure.testing._suite import Suite
from ramure.values import Host, MachineRef

Labels = Mapping[str, str]


class Strange(Image):
    """An image that no backend knows."""

    backend = "ramure-has-no-such-backend"


class Workshop:
    """Makes machines of one run, and sees that none is left."""

    def __init__(self, backend: Backend, image: Image, host: Host) -> None:
        self.backend = backend
        self.image = image
        self.host = host
        self._made: list[Machine] = []
        run = secrets.token_hex(4)
        self.labels: Labels = {"ramure.run": run, "ramure.owner": f"0@{run}"}

    def name(self) -> str:
        """A name as a run decides on it."""
        return f"ramure-{self.labels['ramure.run']}-{secrets.token_hex(3)}"

    async def make(self, name: str | None = None) -> Machine:
        """Make a machine."""
        machine = await self.backend.provision(
            self.image, self.host, name=name or self.name(), labels=self.labels
        )
        self._made.append(machine)
        return machine

    async def find(
        self, backend: Backend | None = None, labels: Labels | None = None
    ) -> list[MachineRef]:
        """What of this run is there, with these labels instead of all of them."""
        return await (backend or self.backend).find(labels or self.labels, host=self.host)

    async def names(self) -> set[str]:
        """The names of all that is there of this run."""
        return {ref.name for ref in await self.find()}

    async def clear(self) -> None:
        """Remove what is left: by the machines, which may keep something up, and by reference."""
        for machine in self._made:
            with suppress(MachineGone):  # its backend was closed, or another removed it
                await machine.destroy()
        for ref in await self.find():
            await self.backend.destroy(ref)


class BackendContract(Suite):
    """Subclass it in a test module and give it a fixture ``backend``.

    Attributes:
        host: where its machines are made, as people write it; None for the backend's bare name.
        wrong_hosts: hosts that it refuses; ``{name}`` stands for the backend's.
        nonsense: text that is no image; None where any text may be one.
        cancel_after: seconds after which making a machine is cancelled.
        patience: seconds after which something that should have ended hangs.
    """

    host: ClassVar[str | None] = None
    wrong_hosts: ClassVar[tuple[str, ...]] = ("{name}+no-such-variant://box",)
    nonsense: ClassVar[str | None] = None
    cancel_after: ClassVar[tuple[float, ...]] = (0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 1.0)
    patience: ClassVar[float] = 60.0

    @pytest.fixture
    async def backend(self) -> Backend:
        """A backend of this test's own, closed afterwards. To be overridden."""
        raise NotImplementedError("a subclass of BackendContract needs a fixture `backend`")

    @pytest.fixture
    def image(self, backend: Backend) -> Image:
        """What the machines are made of: by default the backend's own default."""
        return backend.read_image(None)

    @pytest.fixture
    def half_made(self, workshop: Workshop) -> Callable[[str], object] | None:
        """Does what a program has done that is killed while it makes a machine of this name.

        An (async) function; None, the default, leaves the test out.
        """
        return None

    @pytest.fixture
    async def another(self, backend: Backend) -> AsyncIterator[Backend]:
        """What another program has: it knows nothing but references."""
        another = type(backend)()
        yield another
        await another.aclose()

    @pytest.fixture
    async def workshop(self, backend: Backend, image: Image) -> AsyncIterator[Workshop]:
        """Makes machines; nothing of them is left after the test."""
        workshop = Workshop(backend, image, read_host(self.host or backend.name))
        yield workshop
        await workshop.clear()
        assert await workshop.find() == []

    # --- what texts mean

    async def test_its_images(self, backend: Backend, image: Image) -> None:
        assert isinstance(image, backend.image_type)
        assert image.backend == backend.name
        assert backend.image_type.backend == backend.name

    async def test_text_that_is_no_image(self, backend: Backend) -> None:
        self.needs("nonsense")
        with pytest.raises(PlacementError):
            backend.read_image(self.nonsense)

    async def test_hosts_that_it_refuses(self, backend: Backend, workshop: Workshop) -> None:
        backend.check_host(workshop.host)
        for text in self.wrong_hosts:
            with pytest.raises(PlacementError):
                backend.check_host(read_host(text.format(name=backend.name)))

    async def test_an_image_of_another_backend(self, workshop: Workshop) -> None:
        workshop.image = Strange()
        with pytest.raises(PlacementError):
            await workshop.make()
        assert await workshop.find() == []

    # --- making and finding

    async def test_a_machine_works_and_is_called_as_decided(self, workshop: Workshop) -> None:
        name = workshop.name()
        machine = await workshop.make(name)
        assert machine.ref.name == name
        assert machine.ref.backend == workshop.backend.name
        assert machine.workdir.startswith("/")
        assert machine.state_dir.startswith("/")
        assert (await machine.exec("echo hello")).stdout == "hello\n"

    async def test_a_reference_is_json(self, workshop: Workshop) -> None:
        machine = await workshop.make()
        assert _travelled(machine.ref) == machine.ref

    async def test_it_is_found_by_its_labels(self, workshop: Workshop, another: Backend) -> None:
        machine = await workshop.make()
        for labels in (workshop.labels, *({k: v} for k, v in workshop.labels.items())):
            found = await workshop.find(another, labels)
            assert [ref.name for ref in found] == [machine.ref.name]

    async def test_other_labels_find_nothing(self, workshop: Workshop) -> None:
        await workshop.make()
        for strange in ({"ramure.run": "other"}, {"ramure.owner": "0@other"}, {"more": "labels"}):
            assert await workshop.find(labels={**workshop.labels, **strange}) == []

    async def test_several_at_once_do_not_disturb_each_other(self, workshop: Workshop) -> None:
        names = [workshop.name() for _ in range(4)]
        machines: dict[str, Machine] = {}

        async def make(name: str) -> None:
            machines[name] = await workshop.make(name)

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(make, name)
        assert await workshop.names() == {*names}
        await machines.pop(names[0]).destroy()
        assert await workshop.names() == {*names[1:]}
        for machine in machines.values():
            assert (await machine.exec("echo hello")).stdout == "hello\n"

    async def test_what_is_being_made_is_found_by_all_its_labels(
        self, workshop: Workshop, another: Backend
    ) -> None:
        """Whatever is seen of it, from the first moment on, carries the name and every label."""
        made, name = anyio.Event(), workshop.name()

        async def make() -> None:
            await workshop.make(name)
            made.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make)
            while not made.is_set():
                await anyio.sleep(0.005)
                run = {"ramure.run": workshop.labels["ramure.run"]}
                by_run = {ref.name for ref in await workshop.find(another, run)}
                by_all = {ref.name for ref in await workshop.find(another)}
                assert by_run <= {name}
                assert by_run <= by_all

    async def test_what_a_killed_program_had_half_made(
        self,
        workshop: Workshop,
        another: Backend,
        half_made: Callable[[str], object] | None,
    ) -> None:
        if half_made is None:
            pytest.skip(f"{type(self).__name__} has no fixture `half_made`")
        name, done = workshop.name(), half_made
        result = done(name)
        if asyncio.iscoroutine(result):
            await result
        (ref,) = await another.find(workshop.labels, host=workshop.host)
        assert ref.name == name
        await another.destroy(_travelled(ref))
        assert await workshop.find() == []

    async def test_a_cancelled_making_leaves_nothing(self, workshop: Workshop) -> None:
        """Wherever it is cancelled; and the name can be used at once."""
        name = workshop.name()
        for seconds in self.cancel_after:
            machine = None
            with anyio.move_on_after(seconds):
                machine = await workshop.make(name)
            if machine is not None:
                await machine.destroy()
            assert await workshop.find() == [], f"cancelled after {seconds:g} s"
        machine = await workshop.make(name)
        assert (await machine.exec("echo hello")).stdout == "hello\n"

    async def test_cancelling_a_making_again_and_again_leaves_nothing(
        self, workshop: Workshop
    ) -> None:
        """In the midst of its cleanup, too."""
        for rounds in (0, 1, 5, 20):
            making = asyncio.ensure_future(workshop.make())
            for _ in range(rounds):
                await asyncio.sleep(0)
            for _ in range(20):
                making.cancel()
                await asyncio.sleep(0)
            with suppress(asyncio.CancelledError), anyio.fail_after(self.patience):
                await (await making).destroy()
            assert await workshop.find() == []

    # --- attaching

    async def test_another_program_attaches(self, workshop: Workshop, another: Backend) -> None:
        machine = await workshop.make()
        await machine.write_file(f"{machine.state_dir}/file", "from the first")
        same = await another.attach(_travelled(machine.ref))
        assert (same.name, same.ref) == (machine.name, machine.ref)
        assert (same.workdir, same.state_dir) == (machine.workdir, machine.state_dir)
        said = await same.exec(["cat", f"{same.state_dir}/file"])
        assert said.stdout == "from the first"

    async def test_what_was_found_can_be_attached_to(
        self, workshop: Workshop, another: Backend
    ) -> None:
        machine = await workshop.make()
        (ref,) = await workshop.find(another)
        same = await another.attach(_travelled(ref))
        assert (await same.exec("pwd")).stdout.strip() == (await machine.exec("pwd")).stdout.strip()

    async def test_what_is_gone_cannot_be_attached_to(
        self, workshop: Workshop, another: Backend
    ) -> None:
        machine = await workshop.make()
        await machine.destroy()
        for backend in (workshop.backend, another):
            with pytest.raises(MachineGone):
                await backend.attach(_travelled(machine.ref))

    async def test_closing_leaves_the_machines(self, workshop: Workshop, another: Backend) -> None:
        machine = await workshop.make()
        maker = workshop.backend
        with anyio.fail_after(self.patience):
            await maker.aclose()
            await maker.aclose()
        same = await another.attach(_travelled(machine.ref))
        assert (await same.exec("echo hello")).stdout == "hello\n"
        await another.destroy(_travelled(machine.ref))

    # --- removing

    async def test_it_is_removed_by_its_reference(
        self, workshop: Workshop, another: Backend
    ) -> None:
        """By a program that has never seen it, and with all that runs on it."""
        machine = await workshop.make()
        process = await machine.open_process(["sleep", "1000"])
        await another.destroy(_travelled(machine.ref))
        assert await workshop.find() == []
        with anyio.fail_after(self.patience), suppress(MachineError):
            assert await process.wait() != 0
        with suppress(MachineError):
            await process.aclose()
        with pytest.raises(MachineGone):
            await another.attach(machine.ref)

    async def test_removing_again_does_nothing(self, workshop: Workshop, another: Backend) -> None:
        machine, other = await workshop.make(), await workshop.make()
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(another.destroy, machine.ref)
                tasks.start_soon(workshop.backend.destroy, machine.ref)
            await another.destroy(_travelled(machine.ref))
            await machine.destroy()
        assert await workshop.names() == {other.ref.name}

    async def test_a_cancelled_removal_can_be_finished(self, workshop: Workshop) -> None:
        for seconds in (0.0, 0.001, 0.01, 0.1):
            machine = await workshop.make()
            with anyio.move_on_after(seconds):
                await workshop.backend.destroy(machine.ref)
            await workshop.backend.destroy(machine.ref)
            assert await workshop.find() == []

    async def test_what_is_kept_for_later_can_be_asked_for(self, workshop: Workshop) -> None:
        kept = await workshop.backend.remove_caches(workshop.host, dry_run=True)
        assert all(isinstance(name, str) for name in kept)


def _travelled(ref: MachineRef) -> MachineRef:
    """The reference as another program reads it."""
    return MachineRef(**msgspec.json.decode(msgspec.json.encode(ref)))
