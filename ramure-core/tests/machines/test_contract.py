"""The contract over the local machine, over a plain, a hostile, and over broken ones."""

import io
import os
import tarfile
from functools import partial

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError, UnsafePath
from ramure.machine import Machine
from ramure.testing.machines import MachineContract
from ramure.trees import copy
from wrapped import Wrapped

ROOT = os.getuid() == 0


class PlainMachine(Machine):
    """Has nothing of its own but ``open_process``."""

    transports = ()

    def __init__(self, local, user=None):
        self.local, self.user = local, user
        self.name, self.ref = local.name, local.ref
        self.workdir, self.state_dir = local.workdir, local.state_dir

    async def open_process(self, command, *, cwd=None, env=None, user=None, pty=None):
        user = user or self.user
        return await self.local.open_process(command, cwd=cwd, env=env, user=user, pty=pty)

    async def destroy(self):
        await self.local.destroy()


class TestLocalMachine(MachineContract):
    other_user = "nobody" if ROOT else None
    forbidden = None if ROOT else "/root"

    @pytest.fixture
    async def machine(self, local):
        return local


class TestPlainMachine(TestLocalMachine):
    forbidden = "/root"

    @pytest.fixture
    async def machine(self, local):
        return PlainMachine(local)

    async def test_what_is_forbidden(self, machine):
        machine.user = "nobody" if ROOT else None
        await super().test_what_is_forbidden(machine)


# --- what a hostile machine sends

EVIL = {
    "up": [("../evil", tarfile.REGTYPE, "")],
    "up in the middle": [("a/../../evil", tarfile.REGTYPE, "")],
    "absolute": [("{outside}/evil", tarfile.REGTYPE, "")],
    "absolute folder": [("{outside}/evil", tarfile.DIRTYPE, "")],
    "link and through it": [
        ("link", tarfile.SYMTYPE, "{outside}"),
        ("link/evil", tarfile.REGTYPE, ""),
    ],
    "link outside": [("link", tarfile.SYMTYPE, "{outside}")],
    "link upwards": [("a/link", tarfile.SYMTYPE, "../../outside")],
    "link by way of a link": [
        ("b", tarfile.SYMTYPE, "a/c/d/../../../outside"),
        ("a/c/d", tarfile.SYMTYPE, "."),
    ],
    "hard link outside": [("link", tarfile.LNKTYPE, "{outside}/secret")],
    "hard link upwards": [("link", tarfile.LNKTYPE, "../outside/secret")],
    "hard link to a link": [
        ("link", tarfile.SYMTYPE, "{outside}/secret"),
        ("hard", tarfile.LNKTYPE, "link"),
    ],
    "device": [("evil", tarfile.CHRTYPE, "")],
    "disk": [("evil", tarfile.BLKTYPE, "")],
    "pipe": [("evil", tarfile.FIFOTYPE, "")],
}


def archive(entries, outside):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind, leads_to in entries:
            info = tarfile.TarInfo(name.format(outside=outside))
            info.type, info.linkname = kind, leads_to.format(outside=outside)
            info.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil"))
    return data.getvalue()


class HostileMachine(PlainMachine):
    """Answers every download with what it was told to send."""

    def __init__(self, local, sends):
        super().__init__(local)
        self.sends = sends

    async def open_process(self, command, **options):
        if "tar -cf" in command[2]:
            await self.local.write_file("sends", self.sends)
            command = "cat sends"
        return await super().open_process(command, **options)


async def download(machine, local, target):
    await machine.download("any", target)


async def copy_on(machine, local, target):
    await copy(machine, "any", local, "down")


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("way", [download, copy_on])
async def test_a_hostile_machine_reaches_nothing(local, outside, tmp_path, evil, way):
    machine = HostileMachine(local, b"d 0 drwxr-xr-x\n" + archive(EVIL[evil], outside))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnsafePath):
        await way(machine, local, tmp_path / "down")
    assert sorted(tmp_path.rglob("*")) == before
    assert (outside / "secret").stat().st_nlink == 1


async def test_a_machine_that_never_stops_talking(local, tmp_path):
    machine = HostileMachine(local, b"f 1 -rw-r--r--\n" + b"x" * 1_000_000)
    with anyio.fail_after(20), pytest.raises(MachineError):
        await machine.download("any", tmp_path / "down")


async def test_of_two_entries_the_later_one_wins(local, tmp_path):
    entries = [("x", tarfile.SYMTYPE, "y"), ("x", tarfile.REGTYPE, ""), ("y", tarfile.REGTYPE, "")]
    machine = HostileMachine(local, b"d 0 drwxr-xr-x\n" + archive(entries, ""))
    await machine.download("any", tmp_path / "down")
    assert not (tmp_path / "down/x").is_symlink()


async def test_a_hard_link_to_a_link_that_is_there(local, outside, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down/mine").symlink_to(outside / "secret")
    entries = [("hard", tarfile.LNKTYPE, "mine")]
    machine = HostileMachine(local, b"d 0 drwxr-xr-x\n" + archive(entries, outside))
    with pytest.raises(UnsafePath):
        await machine.download("any", tmp_path / "down")
    assert not (tmp_path / "down/hard").exists()


@pytest.mark.parametrize(
    "sends",
    [
        b"",
        b"f",
        b"f x y z\n",
        b"x" * 10_000,
        b"\xff\xfe 0 0\n",
        b"f 100 -rw-r--r--\nshort",
        b"d 0 drwxr-xr-x\n" + b"no archive" * 1000,
        b"d 0 drwxr-xr-x\n" + archive([("file", tarfile.REGTYPE, "")], "")[:514],
    ],
)
async def test_a_machine_that_talks_nonsense(local, tmp_path, sends):
    machine = HostileMachine(local, sends)
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    for target in ("file", "new"):
        with pytest.raises((MachineError, OSError)):
            await machine.download("any", tmp_path / target)
        with pytest.raises((MachineError, OSError)):
            await copy(machine, "any", local, "down")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"


# --- links that break


class LosesItsLink(Wrapped):
    async def wait(self):
        await super().wait()
        raise LinkBroken("the line is dead", outcome_unknown=True)


class CutsItsInput(Wrapped):
    """What a link that dies looks like to the command: the end of its input."""

    def __init__(self, process):
        super().__init__(process)
        self.stdin.send = self.cut

    async def cut(self, data):
        await type(self.stdin).send(self.stdin, data[:1000])
        await self.stdin.aclose()


class BrokenMachine(PlainMachine):
    """Its processes are of this type; they are let go of at last."""

    process_type = Wrapped

    def __init__(self, local):
        super().__init__(local)
        self.opened = []

    async def open_process(self, command, **options):
        process = await super().open_process(command, **options)
        self.opened.append(process)
        return self.process_type(process)

    async def destroy(self):
        await super().destroy()
        for process in self.opened:
            await process.aclose()


def having(process):
    return type(process.__name__, (BrokenMachine,), {"process_type": process})


class SpeaksAfterItsEnd(Wrapped):
    """Its output takes longer over the network than the news of its end."""

    def __init__(self, process):
        super().__init__(process)
        self.stdout.receive = self.late

    async def late(self, *size):
        await self.process.wait()
        await anyio.sleep(0.03)
        return await type(self.stdout).receive(self.stdout, 100)


class PausesItsInput(Wrapped):
    def __init__(self, process):
        super().__init__(process)
        self.stdin.send = self.pause

    async def pause(self, data):
        await type(self.stdin).send(self.stdin, data[:1])
        await anyio.sleep(1)
        await type(self.stdin).send(self.stdin, data[1:])


async def test_output_that_comes_late(local):
    result = await having(SpeaksAfterItsEnd)(local).exec("head -c 1000 /dev/zero")
    assert len(result.stdout_bytes) == 1000


async def test_a_secret_is_never_readable_by_others(local):
    machine = having(PausesItsInput)(local)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(machine.write_file, "in/file", "secret", mode=0o600))
        with anyio.fail_after(20):
            while not (shown := (await local.exec("ls -l in/.ramure-*")).stdout):
                await anyio.sleep(0.02)
    assert shown.startswith("-rw-------")
    assert await local.read_file("in/file") == b"secret"


async def test_a_broken_link_is_told_as_it_is(local, tmp_path):
    machine = having(LosesItsLink)(local)
    for use in (
        machine.exec("true"),
        machine.exec("true", check=True),
        machine.read_file("file"),
        machine.write_file("file", "x"),
        machine.upload(tmp_path, "in"),
        machine.download(".", tmp_path / "down"),
        copy(machine, ".", local, "in"),
    ):
        with pytest.raises(LinkBroken, match="the line is dead") as caught:
            await use
        assert caught.value.outcome_unknown


async def test_half_a_file_is_never_put_in_its_place(local, tmp_path):
    machine = having(CutsItsInput)(local)
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    await local.write_file("in/file", "old")
    for use in (
        machine.write_file("in/file", b"x" * 100_000),
        machine.upload(tmp_path / "file", "in/file"),
        copy(local, str(tmp_path / "file"), machine, "in/file"),
    ):
        with pytest.raises(MachineError):
            await use
        assert await local.read_file("in/file") == b"old"
        assert (await local.exec("ls -A in")).stdout == "file\n"
