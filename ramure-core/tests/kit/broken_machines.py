"""Backends and machines that are broken in one way each, and the contracts over them.

Not collected by itself: ``test_teeth`` runs it, and says which tests fail.
"""

import os
import re
import shlex
import signal
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from ramure.backends._tree import kill_tree
from ramure.backends.local import LocalBackend, LocalImage
from ramure.errors import MachineGone
from ramure.machine import Machine
from ramure.testing import memory
from ramure.testing._contract_exec import ExecContract
from ramure.testing._contract_files import FileContract
from ramure.testing._contract_process import ProcessContract
from ramure.testing._contract_trees import TreeContract
from ramure.testing.backends import BackendContract
from ramure.testing.memory import MemoryBackend, MemoryImage, MemoryMachine
from ramure.values import Host, MachineRef
from wrapped import Wrapped


class Plain(Machine):
    """Has nothing of its own but ``open_process``; lets go of all at last."""

    transports = ()
    process_type = Wrapped

    def __init__(self, local):
        self.local = local
        self.name, self.ref = local.name, local.ref
        self.workdir, self.state_dir = local.workdir, local.state_dir
        self.opened = []

    async def open_process(self, command, **options):
        process = await self.local.open_process(command, **options)
        self.opened.append(process)
        return self.process_type(process)

    async def destroy(self):
        await self.let_go()

    async def let_go(self):
        await self.local.destroy()
        for process in self.opened:
            await process.aclose()


class Here:
    """A machine of the suite's type, on this computer."""

    machine_type = Plain
    patience = 20.0
    big = 2_000_000

    @pytest.fixture
    async def machine(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RAMURE_HOME", str(tmp_path / "home"))
        (tmp_path / "work").mkdir()
        local = await LocalBackend().provision(
            LocalImage(tmp_path / "work"), Host("local"), name="m", labels={"ramure.run": "r"}
        )
        machine = self.machine_type(local)
        yield machine
        await machine.let_go()


class Quick(Here):
    """Without the tests that take long, and are about how what runs is ended."""

    test_a_time_out_kills_all = None
    test_a_time_out_kills_what_its_parents_have_left = None
    test_a_time_out_kills_what_is_forked_meanwhile = None
    test_cancelling_a_start_leaves_nothing = None
    test_cancelling_twice_kills_all = None
    test_cancellation_kills_all = None


# --- what is run


class JoinsArguments(Plain):
    async def open_process(self, command, **options):
        line = command if isinstance(command, str) else " ".join(command)
        return await super().open_process(line, **options)


class TestJoinsArguments(Quick, ExecContract):
    machine_type = JoinsArguments


class ShowsTheEnvironment(Plain):
    """What is secret is seen in ``ps``."""

    async def open_process(self, command, *, env=None, **options):
        line = command if isinstance(command, str) else shlex.join(command)
        settings = [f"export {name}={shlex.quote(text)};" for name, text in (env or {}).items()]
        if settings:
            command = " ".join([*settings, line])
        return await super().open_process(command, **options)


class TestShowsTheEnvironment(Quick, ExecContract):
    machine_type = ShowsTheEnvironment


class KeepsTheEnvironment(Plain):
    """What was meant for one command is there for all."""

    async def open_process(self, command, *, env=None, **options):
        self.kept = getattr(self, "kept", {}) | dict(env or {})
        return await super().open_process(command, env=self.kept, **options)


class TestKeepsTheEnvironment(Quick, ExecContract):
    machine_type = KeepsTheEnvironment


# --- how it ends


class ReturnsLate(Plain):
    """Kills at the time-out, and is then in no hurry."""

    class process_type(Wrapped):  # noqa: N801 it is the attribute
        async def kill(self):
            await super().kill()
            await anyio.sleep(9.4)


class TestReturnsLate(Quick, ExecContract):
    machine_type = ReturnsLate
    patience = 8.0


class WaitsForChildren(Plain):
    """The end of a command is for it the end of its output."""

    class process_type(Wrapped):  # noqa: N801 it is the attribute
        async def wait(self):
            code = await super().wait()
            while True:
                await anyio.sleep(0.01)
                try:
                    os.killpg(self.process._popen.pid, 0)
                except OSError:
                    return code


class TestWaitsForChildren(Quick, ProcessContract):
    machine_type = WaitsForChildren


class SaysTimeOutBy124(Plain):
    async def exec(self, command, **options):
        result = await super().exec(command, **options)
        if result.timed_out:
            return replace(result, exit_code=124, timed_out=False)
        return replace(result, timed_out=result.exit_code == 124)


class TestSaysTimeOutBy124(Quick, ExecContract):
    machine_type = SaysTimeOutBy124


class KillsItsGroup(Plain):
    """And not the children that have left it."""

    class process_type(Wrapped):  # noqa: N801 it is the attribute
        async def kill(self):
            await self.signal(signal.SIGKILL)

        async def aclose(self):
            await self.kill()


class TestKillsItsGroup(Here, ExecContract):
    machine_type = KillsItsGroup
    # Whether these find something depends on what has been started by then.
    test_a_time_out_kills_what_is_forked_meanwhile = None
    test_cancelling_a_start_leaves_nothing = None


class TestKillsItsGroupOfProcesses(Here, ProcessContract):
    machine_type = KillsItsGroup


class LeavesWithoutKilling(Plain):
    """What is cancelled runs on."""

    class process_type(Wrapped):  # noqa: N801 it is the attribute
        async def aclose(self):
            pass


class TestLeavesWithoutKilling(Quick, ProcessContract):
    machine_type = LeavesWithoutKilling


class StartsAndThenWaits(Plain):
    """What has been started and is cancelled before it is anybody's has no owner."""

    async def open_process(self, command, **options):
        process = await super().open_process(command, **options)
        await anyio.sleep(0.05)
        return process


class TestStartsAndThenWaits(Quick, ExecContract):
    machine_type = StartsAndThenWaits
    test_cancelling_a_start_leaves_nothing = ExecContract.test_cancelling_a_start_leaves_nothing


class KillsAtTheEnd(Plain):
    """A normal end, too, kills all that was started."""

    class process_type(Wrapped):  # noqa: N801 it is the attribute
        async def wait(self):
            code = await super().wait()
            kill_tree(self.process._mark)
            return code

        async def aclose(self):
            kill_tree(self.process._mark)
            await super().aclose()


class TestKillsAtTheEnd(Quick, ExecContract):
    machine_type = KillsAtTheEnd


class SurvivesItsEnd(Plain):
    """A destroyed machine goes on."""

    async def destroy(self):
        pass


class TestSurvivesItsEnd(Quick, ProcessContract):
    machine_type = SurvivesItsEnd


# --- what goes in and out


class LosesBytes(Plain):
    class process_type(Wrapped):  # noqa: N801 it is the attribute
        def __init__(self, process):
            super().__init__(process)
            self.take = self.stdout.receive
            self.stdout.receive = self.lossy

        async def lossy(self, *size):
            data = await self.take(*size)
            return data[:-1] if len(data) > 60_000 else data


class TestLosesBytes(Quick, ExecContract):
    machine_type = LosesBytes


class ThinksItIsText(Plain):
    class process_type(Wrapped):  # noqa: N801 it is the attribute
        def __init__(self, process):
            super().__init__(process)
            self.take = self.stdout.receive
            self.stdout.receive = self.text

        async def text(self, *size):
            return (await self.take(*size)).decode("utf-8", "replace").encode()


class TestThinksItIsText(Quick, ExecContract):
    machine_type = ThinksItIsText


# --- files


class WritesInPlace(Plain):
    """So that half a file is there to be read."""

    async def write_file(self, path, data, *, mode=None):
        if re.fullmatch(r"\w+", path) and not (await self.exec(["test", "-d", path])).ok:
            await self.exec(["tee", path], input=data, check=True)
            if mode is not None:
                await self.exec(["chmod", f"{mode:o}", path], check=True)
        else:
            await super().write_file(path, data, mode=mode)


class TestWritesInPlace(Quick, FileContract):
    machine_type = WritesInPlace
    test_many_writers_one_whole_file = None  # they may come one after the other


class IgnoresTheMode(Plain):
    async def write_file(self, path, data, *, mode=None):
        await super().write_file(path, data)


class TestIgnoresTheMode(Quick, FileContract):
    machine_type = IgnoresTheMode


class BelievesArchives(Plain):
    """Follows links out of the target, and whatever else an archive says."""

    async def download(self, remote, local):
        if not (await self.exec(["test", "-d", remote])).ok:
            return await super().download(remote, local)
        local.mkdir(parents=True, exist_ok=True)
        source, target = shlex.quote(remote), shlex.quote(str(local))
        await self.exec(f"tar -cf - -C {source} . | tar -xpf - -C {target}", check=True)
        return None


class TestBelievesArchives(Quick, TreeContract):
    machine_type = BelievesArchives


# --- backends


class OnMemory:
    """A backend that is broken in one way, over machines in memory."""

    nonsense = "anything"
    cancel_after = (0.0, 0.001)
    patience = 20.0
    backend_type = MemoryBackend

    @pytest.fixture
    async def backend(self):
        return self.backend_type()

    @pytest.fixture
    def image(self):
        return MemoryImage(takes=0.05)


class ForgetsALabel(MemoryBackend):
    async def provision(self, image, host, *, name, labels, tools=None):
        kept = {"ramure.run": labels["ramure.run"]}
        return await super().provision(image, host, name=name, labels=kept)


class TestForgetsALabel(OnMemory, BackendContract):
    backend_type = ForgetsALabel


class FindsTooMuch(MemoryBackend):
    """Looks only whose run it is."""

    async def find(self, labels, *, host):
        run = {key: text for key, text in labels.items() if key == "ramure.run"}
        return await super().find(run, host=host)


class TestFindsTooMuch(OnMemory, BackendContract):
    backend_type = FindsTooMuch


class LabelsLate(MemoryBackend):
    """Once the machine is made."""

    async def provision(self, image, host, *, name, labels, tools=None):
        run = {"ramure.run": labels["ramure.run"]}
        machine = await super().provision(image, host, name=name, labels=run)
        machine._memory.labels.update(labels)
        return machine


class TestLabelsLate(OnMemory, BackendContract):
    backend_type = LabelsLate

    @pytest.fixture
    def image(self):
        return MemoryImage(takes=0.5)


class NamesItself(MemoryBackend):
    async def provision(self, image, host, *, name, labels, tools=None):
        return await super().provision(image, host, name=f"{name}-1", labels=labels)


class TestNamesItself(OnMemory, BackendContract):
    backend_type = NamesItself


class LeavesWhatWasCancelled(MemoryBackend):
    async def provision(self, image, host, *, name, labels, tools=None):
        quick = replace(image, takes=0) if isinstance(image, MemoryImage) else image
        machine = await super().provision(quick, host, name=name, labels=labels)
        await anyio.sleep(0.05)
        return machine


class TestLeavesWhatWasCancelled(OnMemory, BackendContract):
    backend_type = LeavesWhatWasCancelled


class ComplainsOfTheGone(MemoryBackend):
    """Removes once, and then raises."""

    async def destroy(self, ref):
        await (await self.attach(ref)).destroy()


class TestComplainsOfTheGone(OnMemory, BackendContract):
    backend_type = ComplainsOfTheGone


class AttachesToTheGone(MemoryBackend):
    async def attach(self, ref):
        try:
            return await super().attach(ref)
        except MachineGone:
            return MemoryMachine(name=ref.name)


class TestAttachesToTheGone(OnMemory, BackendContract):
    backend_type = AttachesToTheGone


class RemovesTheNameOnly(MemoryBackend):
    """What runs on the machine runs on."""

    async def destroy(self, ref):
        memory._machines.pop((str(ref.data["host"]), ref.name), None)


class TestRemovesTheNameOnly(OnMemory, BackendContract):
    backend_type = RemovesTheNameOnly


class TakesAllAlong(MemoryBackend):
    """Closed, it removes the machines that it has made."""

    def __init__(self):
        self.made = []

    async def provision(self, image, host, *, name, labels, tools=None):
        self.made.append(await super().provision(image, host, name=name, labels=labels))
        return self.made[-1]

    async def aclose(self):
        for machine in self.made:
            await machine.destroy()


class TestTakesAllAlong(OnMemory, BackendContract):
    backend_type = TakesAllAlong


class SharesWhatItMade(MemoryBackend):
    """Its references mean something in this program only."""

    def told(self, machine):
        machine.ref = MachineRef(machine.ref.backend, machine.ref.name, {**machine.ref.data, 1: 2})
        return machine

    async def provision(self, image, host, *, name, labels, tools=None):
        return self.told(await super().provision(image, host, name=name, labels=labels))


class TestSharesWhatItMade(OnMemory, BackendContract):
    backend_type = SharesWhatItMade


class UnderstandsAnything(MemoryBackend):
    def read_image(self, text):
        return MemoryImage()

    def check_host(self, host):
        pass

    async def provision(self, image, host, *, name, labels, tools=None):
        image = image if isinstance(image, MemoryImage) else MemoryImage()
        return await super().provision(image, host, name=name, labels=labels)


class TestUnderstandsAnything(OnMemory, BackendContract):
    backend_type = UnderstandsAnything


class TestSound(OnMemory, BackendContract):
    """None of them: so that it is the defects that are found."""
