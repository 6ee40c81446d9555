"""What the local backend promises beyond the contract."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import psutil
import pytest

from ramure import paths
from ramure._work import to_end
from ramure.backends import _records as records
from ramure.backends import local as local_backend
from ramure.backends.local import LocalBackend, LocalImage
from ramure.errors import (
    InvalidName,
    MachineError,
    MachineGone,
    MachineStartFailed,
    PlacementError,
    UsageError,
)
from ramure.machine import Image
from ramure.testing.machines import MachineContract
from ramure.values import Host

HERE = Host("local")
LABELS = {"ramure.run": "r"}
contract = MachineContract()


async def provision(image=None, name="other", labels=LABELS, host=HERE):
    return await LocalBackend().provision(image or LocalImage(), host, name=name, labels=labels)


@pytest.fixture
async def other(local, workdir):
    machine = await provision(LocalImage(workdir))
    yield machine
    await machine.destroy()


# --- images and places


def test_an_image_is_a_folder_that_exists(tmp_path, monkeypatch):
    backend = LocalBackend()
    (tmp_path / "in").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for text in ("in", "./in", "~/in", str(tmp_path / "in")):
        assert backend.read_image(text) == LocalImage(tmp_path / "in")
    assert backend.read_image(None) == LocalImage()
    (tmp_path / "file").touch()
    for text in ("missing", "file", "python:3.12"):
        with pytest.raises(PlacementError, match=rf"{re.escape(text)}.*no folder"):
            backend.read_image(text)


def test_an_image_can_be_a_key_and_shows_no_secrets():
    image = LocalImage("/", {"KEY": "secret"})
    assert {image: 1}[LocalImage("/", {"KEY": "secret"})] == 1
    assert image != LocalImage("/", {"KEY": "other"})
    assert "secret" not in repr(image)


async def test_what_cannot_be_made(local, tmp_path):
    class OtherImage(Image):
        backend = "other"

    with pytest.raises(MachineStartFailed, match=r"no folder .*missing"):
        await provision(LocalImage(tmp_path / "missing"))
    with pytest.raises(MachineStartFailed, match="one of this name"):
        await provision(name=local.name)
    with pytest.raises(PlacementError, match="LocalImage"):
        await provision(OtherImage())
    with pytest.raises(PlacementError, match="no address"):
        await provision(host=Host("local", None, "box"))
    with pytest.raises(UsageError, match=r"ramure\.run"):
        await provision(labels={})
    for name in ("", "..", "a/b", ".hidden", "a b"):
        with pytest.raises(InvalidName):
            await provision(name=name)
        with pytest.raises(InvalidName):
            await provision(labels={"ramure.run": name})
    assert (await local.exec("true")).ok


async def test_the_working_directory_by_default(local, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    machine = await provision()
    assert machine.workdir == str(tmp_path)
    assert machine.here
    await machine.destroy()
    assert tmp_path.is_dir()


async def test_environments_in_order(local, workdir, monkeypatch):
    monkeypatch.setenv("A", "program")
    monkeypatch.setenv("B", "program")
    monkeypatch.setenv("C", "program")
    machine = await provision(LocalImage(workdir, {"B": "image", "C": "image"}))
    assert (await machine.exec("echo $A $B $C", env={"C": "call"})).stdout == "program image call\n"
    await machine.destroy()


# --- what is kept of a machine


async def test_state_is_apart_and_private(local, other, ramure_home):
    assert local.state_dir != other.state_dir
    for path in ramure_home.glob("runtimes/**/*"):
        assert path.stat().st_mode & 0o077 == 0, path
    await other.destroy()
    left = {path.name for path in ramure_home.glob("runtimes/r/machines/*")}
    assert left == {"m", "records.jsonl"}


async def test_finding(local, workdir):
    labels = {"ramure.run": "r2", "ramure.owner": "me"}
    machine = await provision(LocalImage(workdir), labels=labels)
    backend = LocalBackend()

    async def found(**wanted):
        labels = {f"ramure.{key}": text for key, text in wanted.items()}
        return sorted(ref.name for ref in await backend.find(labels, host=HERE))

    assert await found() == ["m", "other"]
    assert await found(run="r2", owner="me") == ["other"]
    assert await found(run="r") == ["m"]
    assert await found(run="r", owner="me") == []
    with (Path(machine.state_dir).parent / "records.jsonl").open("a") as records:
        records.write('\n{"name": "torn')
    assert await found(run="r2") == ["other"]
    await machine.destroy()
    assert await found(run="r2") == []


async def test_attaching(local, workdir):
    machine = await provision(LocalImage(workdir, {"A": "1"}))
    ref = type(machine.ref)("local", "other", json.loads(json.dumps(dict(machine.ref.data))))
    again = await LocalBackend().attach(ref)
    assert (await again.exec("echo $A; pwd")).stdout == f"1\n{workdir}\n"
    assert again.ref == machine.ref
    await again.destroy()
    with pytest.raises(MachineGone):
        await LocalBackend().attach(ref)
    await LocalBackend().destroy(ref)


async def test_a_reference_cannot_remove_anything_else(local, tmp_path):
    (tmp_path / "precious").touch()
    ref = type(local.ref)("local", "m", {**local.ref.data, "state_dir": str(tmp_path)})
    with pytest.raises(UsageError):
        await LocalBackend().destroy(ref)
    assert (tmp_path / "precious").exists()


async def test_a_cancelled_provision_leaves_nothing(local):
    for delay in (0.0, 0.0001, 0.0003, 0.001, 0.003):
        task = asyncio.ensure_future(provision())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        found = await LocalBackend().find(LABELS, host=HERE)
        assert len(found) == (1 if task.cancelled() else 2)
        if not task.cancelled():  # it was quicker than we
            await task.result().destroy()


# --- what runs


async def test_destroying_kills_what_runs_and_nothing_else(local, other):
    await local.exec(contract.beating("mine"))
    await other.exec(contract.beating("theirs"))
    await contract.started(local, "mine")
    await contract.started(other, "theirs")
    await local.destroy()
    assert not await contract.lives(other, "mine")
    assert await contract.lives(other, "theirs")


async def test_another_program_removes_what_a_killed_one_left(local, workdir):
    script = f"""
import asyncio, os, signal
from ramure.backends.local import LocalBackend, LocalImage
from ramure.values import Host
async def main():
    machine = await LocalBackend().provision(
        LocalImage({str(workdir)!r}), Host("local"), name="left", labels={{"ramure.run": "r"}})
    await machine.exec({contract.beating("beat")!r})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = await anyio.to_thread.run_sync(lambda: subprocess.call([sys.executable, "-c", script]))
    assert ended == -signal.SIGKILL
    await contract.started(local, "beat")
    (left,) = [r for r in await LocalBackend().find(LABELS, host=HERE) if r.name == "left"]
    await LocalBackend().destroy(left)
    assert not await contract.lives(local, "beat")
    assert [r.name for r in await LocalBackend().find(LABELS, host=HERE)] == ["m"]


async def test_an_outer_machine_kills_what_an_inner_one_started(local, workdir):
    script = f"""
import asyncio
from ramure.backends.local import LocalBackend, LocalImage
from ramure.values import Host
async def main():
    machine = await LocalBackend().provision(
        LocalImage({str(workdir)!r}), Host("local"), name="inner", labels={{"ramure.run": "r"}})
    await machine.exec({contract.beating("beat")!r})
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    async with await local.open_process([sys.executable, "-c", script]):
        await contract.started(local, "beat")
    assert not await contract.lives(local, "beat")
    (left,) = [r for r in await LocalBackend().find(LABELS, host=HERE) if r.name == "inner"]
    await LocalBackend().destroy(left)


@pytest.mark.parametrize(
    "how", ["env -i {} &", "env -i setsid {} &", "setsid env -i {} &", "( ( env -i {} & ) & );"]
)
async def test_a_child_that_clears_its_environment_is_found(local, how):
    beat = how.format(contract.beating("beat").removeprefix("setsid ").removesuffix(" &"))
    async with await local.open_process(f"{beat} sleep 1000"):
        await contract.started(local, "beat")
    assert not await contract.lives(local, "beat")


async def test_a_tree_that_grows_while_it_is_killed(local):
    grow = "while :; do (setsid sh -c 'sleep 1000; : grown' &); done"
    async with await local.open_process(["sh", "-c", grow]) as process:
        await anyio.sleep(0.3)
        await process.kill()
    shown = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [words for words in shown if words and "sleep 1000; : grown" in words]


async def test_nothing_is_left_of_many_commands(local):
    async def some():
        await local.exec("echo x", input="y")
        await local.exec("sleep 1000", timeout=0.05)

    await some()
    me = psutil.Process()
    before, children = me.num_fds(), me.children()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(some)
    assert me.num_fds() == before
    new = set(me.children()) - {*children}
    assert not [child for child in new if child.ppid() == me.pid]


async def test_systems_without_pidfd(local, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert (await local.exec("exit 3")).exit_code == 3
    assert (await local.exec("sleep 1000", timeout=0.3)).timed_out
    async with await local.open_process("sleep 1000") as process:
        await process.signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM


async def test_users(local):
    me = (await local.exec("id -un")).stdout.strip()
    assert (await local.exec("id -un", user=me)).stdout.strip() == me
    assert (await local.exec("id -u", user=str(os.getuid()))).stdout.strip() == str(os.getuid())


# --- files


async def test_a_pipe_does_not_hold_a_reader(local):
    await local.exec("mkfifo pipe", check=True)
    with anyio.fail_after(20):
        assert await local.read_file("pipe") == b""


async def test_a_folder_is_not_copied_into_itself(local, workdir):
    (workdir / "file").write_text("x")
    for target in (".", "in/it"):
        with pytest.raises(OSError, match="into itself"):
            await local.upload(workdir, target)
        with pytest.raises(OSError, match="into itself"):
            await local.download(".", workdir / target)


async def test_a_cancelled_copy_leaves_nothing(local, workdir, tmp_path):
    (workdir / "tree").mkdir()
    with (workdir / "tree/big").open("wb") as file:
        file.truncate(10_000_000_000)
    with anyio.fail_after(20):
        with anyio.move_on_after(0.3) as scope:
            await local.download("tree", tmp_path / "down")
        assert scope.cancelled_caught
    assert not (tmp_path / "down").exists()


async def test_read_only_folders_in_the_state_are_removed(ramure_home, workdir):
    machine = await provision(LocalImage(workdir))
    folder = Path(machine.state_dir) / "a/b"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    folder.chmod(0o500)
    folder.parent.chmod(0o500)
    await machine.destroy()
    assert not (paths.runtimes() / "r/machines").exists()


async def test_a_removal_that_takes_too_long_is_told(local, caplog):
    """Whoever destroys it must not believe that it is gone."""
    remove = records.remove
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_backend, "REMOVAL", 0.1)
        patch.setattr(records, "remove", lambda ref: time.sleep(1) or remove(ref))
        with pytest.raises(MachineError, match=r"within 0\.1 s"):
            await local.destroy()
    assert "did not end within 0.1 s" in caplog.text


async def test_cleaning_up_that_takes_too_long_is_told(caplog):
    with caplog.at_level("WARNING", "ramure"), anyio.fail_after(20):
        assert not await to_end(anyio.sleep_forever, 0.1)
    assert "sleep_forever did not end within 0.1 s" in caplog.text
