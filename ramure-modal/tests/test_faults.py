"""Outages, cuts, lost sandboxes: what a program sees of them."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.values import Host, PtySize
from ramure_modal.image import ModalImage

HANGS = 60


@pytest.fixture(params=["python:3.12", "bare:1"], ids=["relayed", "plain"])
async def machine(request, make):
    """A sandbox with a relay, and one without."""
    return await make(ModalImage(request.param, workdir="/work"))


async def test_cuts_lose_nothing(machine, cloud):
    data = os.urandom(3_000_000)

    async def cut():
        while True:
            await anyio.sleep(0.2)
            cloud("cut")

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            for _ in range(3):
                result = await machine.exec(["tee", "/dev/stderr"], input=data)
                assert result.stdout_bytes == data
                assert result.stderr_bytes == data
            tasks.cancel_scope.cancel()


async def test_an_outage_is_sat_out(machine, cloud):
    with anyio.fail_after(HANGS * 2):
        async with await machine.open_process(
            "read -r a; sleep 4; echo $a; read -r b; echo $b"
        ) as p:
            await p.stdin.send(b"one\n")
            await anyio.sleep(0.5)
            cloud("outage")
            await p.stdin.send(b"two\n")
            await anyio.sleep(13)  # longer than the SDK itself has patience for
            cloud("outage", on=False)
            got = b""
            async for piece in p.stdout:
                got += piece
            assert got == b"one\ntwo\n"
            assert await p.wait() == 0


def runs(*words):
    """Whether such a command runs in any sandbox."""
    line = b"\0".join(word.encode() for word in words) + b"\0"
    return any(line == seen(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def seen(path):
    with suppress(OSError):
        return path.read_bytes()
    return b""


async def gone(*words):
    with anyio.fail_after(HANGS):
        while runs(*words):
            await anyio.sleep(0.1)


async def test_a_time_out_is_kept_during_an_outage(machine, cloud):
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_outage_soon, cloud)
            result = await machine.exec("echo begun; exec sleep 1010", timeout=4)
        assert result.timed_out
        await gone("sleep", "1010")  # nobody can reach it meanwhile
        cloud("outage", on=False)
        assert (await machine.exec("echo here")).stdout == "here\n"


async def test_what_is_cancelled_during_an_outage_is_killed_afterwards(machine, cloud):
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(machine.exec, "exec sleep 1011")
            while not runs("sleep", "1011"):
                await anyio.sleep(0.1)
            cloud("outage")
            tasks.cancel_scope.cancel()
    assert runs("sleep", "1011")
    cloud("outage", on=False)
    await gone("sleep", "1011")


async def _outage_soon(cloud):
    await anyio.sleep(1.5)
    cloud("outage")


async def test_a_lost_sandbox_is_noticed(machine, cloud):
    with anyio.fail_after(HANGS):
        async with await machine.open_process("echo up; exec sleep 1000") as process:
            await process.stdout.receive()
            cloud("lose", sandbox=machine.sandbox.object_id)
            with pytest.raises(MachineGone, match="has ended"):
                await process.wait()
        with pytest.raises(MachineGone):
            await machine.exec("true")


async def test_a_killed_command_is_no_lost_sandbox(plain):
    assert (await plain.exec("kill -9 $$")).exit_code == -9
    assert (await plain.exec("echo here")).stdout == "here\n"


async def test_modal_does_not_take_a_command(plain, cloud):
    this = {"method": "TaskExecStart", "about": "echo this"}
    cloud("fault", **this, status="RESOURCE_EXHAUSTED", count=1)
    with pytest.raises(MachineError, match="for a test"):
        await plain.exec("echo this")
    assert (await plain.exec("echo this")).stdout == "this\n"


async def test_a_short_refusal_is_nobodys_concern(plain, cloud):
    for method in ("TaskExecStart", "TaskExecWait", "TaskExecStdioRead"):
        cloud("fault", method=method, status="UNAVAILABLE", count=2)
        assert (await plain.exec("echo on")).stdout == "on\n"


async def test_what_is_sent_to_one_that_reads_no_more(plain):
    async def send():
        while True:
            await process.stdin.send(b"x" * 100_000)

    async with await plain.open_process("exec <&-; echo closed; sleep 1000") as process:
        assert await process.stdout.receive() == b"closed\n"
        with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(HANGS):
            await send()


async def test_a_terminal_ends_with_its_sandbox(relayed, cloud):
    async with await relayed.open_process(["cat"], pty=PtySize()) as terminal:
        await terminal.stdin.send(b"hello\n")
        await terminal.stdout.receive()
        cloud("lose", sandbox=relayed.sandbox.object_id)
        with pytest.raises(MachineGone), anyio.fail_after(HANGS):
            await terminal.wait()


async def test_an_error_in_asking_is_no_death(relayed, backend, cloud):
    for method, ask in (
        ("SandboxListV2", lambda: backend.find({"ramure.run": "r"}, host=Host("modal"))),
        ("SandboxWaitV2", lambda: backend.destroy(relayed.ref)),
        ("SandboxTerminateV2", lambda: backend.destroy(relayed.ref)),
    ):
        cloud("fault", method=method, status="INVALID_ARGUMENT", count=1)
        with pytest.raises(LinkBroken, match="for a test"):
            await ask()
    assert (await relayed.exec("echo here")).stdout == "here\n"


async def test_attaching_fails_by_a_typed_error(relayed, backend, cloud):
    for method, about in (("SandboxWaitV2", ""), ("TaskExecStart", "Makes a sandbox")):
        cloud("fault", method=method, status="INVALID_ARGUMENT", count=1, about=about)
        with pytest.raises(MachineError, match="for a test"):
            await backend.attach(relayed.ref)


async def test_files_where_none_may_be(plain, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="/usr/file") as caught:
        await plain.upload(tmp_path / "file", "/usr/file")
    assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError, match="/proc/nothing"):
        await plain.download("/proc/nothing", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


async def test_a_transfer_that_breaks_leaves_nothing(plain, cloud, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    cloud("fault", method="TaskExecStdinWriteStream", status="INVALID_ARGUMENT")
    with pytest.raises(MachineError), anyio.fail_after(HANGS):
        await plain.upload(tmp_path / "file", "in/file")
    cloud("mend")
    assert (await plain.exec("ls -A in")).stdout == ""
