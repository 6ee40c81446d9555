"""Links that break: for a moment, for a while, for good."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.transport import Target
from ramure_ssh.backend import SSHBackend
from ramure_ssh.transport import SSHTransport

HANGS = 60


@pytest.fixture
async def relayed_own(new_server, provision):
    server = new_server()
    machine = await provision(host="own", relay=True, lease=30, keepalive=1)
    yield server, machine
    await machine.destroy()


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.02)


def running(pid):
    """Whether a process runs; what nobody has buried yet does not."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def alive(there):
    """The machines on a host."""
    folder = there / ".ramure" / "machines"
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


async def test_a_relayed_command_outlives_the_server(relayed_own):
    server, machine = relayed_own
    out = []

    async def run():
        command = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.3; done"
        out.append(await machine.exec(command))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.7)
        server.stop(rudely=True)
        await anyio.sleep(1.5)
        server.start()
    assert out[0].stdout.split() == [*"12345678"]


async def test_what_is_asked_meanwhile_is_done_later(relayed_own):
    server, machine = relayed_own
    server.stop(rudely=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machine.write_file, "~file", b"x" * 3_000_000)
        await anyio.sleep(0.5)
        server.start()
    assert len(await machine.read_file("~file")) == 3_000_000


async def cut_amid(server, folder, copy):
    """Drop the connection while a large file grows in a folder; see that ``copy`` goes on."""
    dropped = anyio.Event()

    async def cut():
        names = (".ramure-", "file")
        await until(
            lambda: any(
                size(one) >= 8_000_000 for one in folder.iterdir() if one.name.startswith(names)
            )
        )
        await anyio.to_thread.run_sync(server.drop)
        dropped.set()

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            done = await copy()
            assert dropped.is_set(), "it was done before the connection broke"
    return done


def size(path):
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


async def test_a_large_file_outlives_its_connection(relayed_own, there, tmp_path):
    """It goes beside the relay, and through it once that broke."""
    server, machine = relayed_own
    content = os.urandom(1 << 20) * 300
    here = tmp_path / "here"
    here.write_bytes(content)
    (far := there / "far").mkdir()
    await cut_amid(server, far, lambda: machine.upload(here, str(far / "file")))
    assert [one.name for one in far.iterdir()] == ["file"]
    assert (far / "file").read_bytes() == content
    (near := tmp_path / "near").mkdir()
    await cut_amid(server, near, lambda: machine.download(str(far / "file"), near / "file"))
    assert [one.name for one in near.iterdir()] == ["file"]
    assert (near / "file").read_bytes() == content


async def test_a_plain_command_that_was_cut_off(new_server, provision, there):
    server = new_server()
    machine = await provision(host="own")
    async with anyio.create_task_group() as tasks:

        async def cut():
            await until((there / "up").exists)
            server.drop()

        tasks.start_soon(cut)
        with pytest.raises(LinkBroken) as caught:
            await machine.exec("echo $$ >up; exec sleep 1000")
    assert caught.value.outcome_unknown
    assert (await machine.exec("echo back")).stdout == "back\n"
    pid = int((there / "up").read_text())
    await until(lambda: not running(pid))  # ended once the host was back
    await machine.destroy()


async def test_a_plain_command_waits_for_the_server(new_server, provision):
    server = new_server()
    machine = await provision(host="own")
    server.stop(rudely=True)
    async with anyio.create_task_group() as tasks:

        async def run():
            assert (await machine.exec("echo later")).stdout == "later\n"

        tasks.start_soon(run)
        await anyio.sleep(0.5)
        server.start()
    await machine.destroy()


@pytest.mark.parametrize("relay", [False, True])
async def test_a_time_out_is_kept_on_both_sides(new_server, provision, there, relay):
    server = new_server()
    machine = await provision(host="own", relay=relay, lease=12)
    result, silenced = [], []

    async def run():
        result.append(await machine.exec("echo $$ >up; exec sleep 1000", timeout=3))

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await until((there / "up").exists)
            pid = int((there / "up").read_text())
            if relay:
                server.stop(rudely=True)
            else:
                silenced = server.silence()  # as a pulled cable: nobody hears of it
                server.stop()
        assert result[0].timed_out
        assert result[0].duration < 3 + 4
        await until(lambda: not running(pid))
        assert alive(there)  # by the deadline, not by the lease
    for session in silenced:
        os.kill(session, signal.SIGKILL)  # a stopped one would stay for ever
    await machine.connection.aclose() if not relay else None
    await until(lambda: not alive(there))


async def test_a_forward_that_fails_is_tried_again(new_server, provision, there, tmp_path):
    server = new_server()
    machine = await provision(host="own")
    route = await SSHTransport().open(machine, Target(str(tmp_path / "socket")))
    path = there / route.address.removeprefix("unix:")
    path.unlink()
    path.mkdir()  # in the way of the next
    server.drop()
    await until(lambda: not machine.connection.up)
    assert (await machine.exec("echo here")).stdout == "here\n"
    await anyio.sleep(2)  # it has tried
    path.rmdir()
    await until(path.is_socket)
    await route.aclose()
    await machine.destroy()


async def test_out_of_reach_for_good(new_server, provision, there):
    server = new_server()
    machine = await provision(host="own", lease=3, keepalive=1)
    await machine.exec("(exec sleep 1000) >/dev/null 2>&1 & echo $! >pid")
    pid = int((there / "pid").read_text())
    server.stop(rudely=True)
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken, match="out of reach for 3 s"):
        await machine.exec("true")
    await until(lambda: not alive(there))  # the host has seen to it by itself
    assert not running(pid)
    with pytest.raises(LinkBroken):
        await machine.exec("true")
    server.start()
    again = await provision("m2", host="own")
    assert (await again.exec("echo again")).stdout == "again\n"
    await again.destroy()


async def test_each_machine_waits_for_its_own_lease(new_server, provision):
    server = new_server()
    short = await provision("short", host="own", lease=3, keepalive=1)
    long = await provision("long", host="own", lease=100, keepalive=1)
    assert short.connection is long.connection
    server.stop(rudely=True)
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken, match="out of reach for 3 s"):
        await short.exec("true")
    await anyio.sleep(2)  # the next attempts would have been too late for the short one
    server.start()
    with anyio.fail_after(HANGS):
        assert (await long.exec("echo here")).stdout == "here\n"
    await long.destroy()


async def test_a_host_that_lets_us_in_again_but_opens_no_session(new_server, provision):
    server = new_server()
    machine = await provision(host="own", lease=3, keepalive=1)
    server.stop(rudely=True)
    server.configure("MaxSessions 0")
    server.start()
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken, match="out of reach for 3 s"):
        await machine.exec("true")
    await until(lambda: not machine.connection.usable)


@pytest.mark.parametrize("relay", [False, True])
async def test_a_blocked_loop_is_no_death(new_server, provision, relay):
    new_server()
    machine = await provision(host="own", relay=relay, lease=4)
    await machine.exec("(exec sleep 1000) >/dev/null 2>&1 & echo $! >pid")
    time.sleep(9)  # noqa: ASYNC251 a program that computes
    assert (await machine.exec("kill -0 $(cat pid); echo here")).stdout == "here\n"
    await machine.destroy()


async def test_a_machine_that_was_removed_behind_our_back(new_server, provision, there):
    new_server()
    machine = await provision(host="own")
    other = SSHBackend()
    await other.destroy(machine.ref)
    await other.aclose()
    with pytest.raises(MachineGone):
        await machine.exec("true")
    await machine.destroy()


async def test_a_program_that_dies_leaves_nothing(new_server, provision, there, backend):
    new_server()
    machine = await provision(host="own", lease=3)
    await machine.exec("(exec setsid sleep 1000) >/dev/null 2>&1 & echo $! >pid")
    await backend.aclose()  # as far as the host knows, the program is dead
    await until(lambda: not alive(there))
    assert not running((there / "pid").read_text())
    with pytest.raises(MachineError):
        await machine.exec("true")
