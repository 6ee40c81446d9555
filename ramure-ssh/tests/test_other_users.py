"""Commands as another user: by runuser where we are root, by a real sudo where we are not."""

import os
import signal
from pathlib import Path

import anyio
import pytest

import accounts
from ramure.values import PtySize

HANGS = 60


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.05)


def running(text):
    """The processes of which a command line says this."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text.encode() in line and state != "Z":
            found.append(int(entry.name))
    return found


def left_by(user):
    """The files of ours that a user has in the folder for temporary ones."""
    files = (entry for entry in os.scandir("/tmp") if entry.name.startswith(".ramure-"))
    return {file.name for file in files if file.stat().st_uid == user}


@pytest.fixture
def seconds():
    """A number that only this test's sleep has."""
    return str(100_000 + os.getpid() * 10 + next(_numbers) % 10)


_numbers = iter(range(1_000_000))


@pytest.fixture(params=["runuser", "sudo"])
def another(request, new_server, tmp_path, there):
    """A server, how to log in there, and whom one may become."""
    accounts.need_accounts()
    options = accounts.make(tmp_path / "etc", there)
    server = new_server(**options)
    return server, "own" if request.param == "runuser" else "worker@own", "other"


async def test_who_it_is(another, provision):
    _, host, user = another
    machine = await provision(host=host)
    assert machine.record.become == ("runuser" if host == "own" else "sudo")
    secret = {"SECRET": "it's a \n secret"}
    said = await machine.exec(
        'id -un; echo $HOME; printf %s "$SECRET"', user=user, env=secret, cwd="/"
    )
    assert said.stdout == f"{user}\n/\nit's a \n secret"
    with pytest.raises(PermissionError):
        await machine.exec("true", user="nobody-at-all", cwd="/")
    await machine.destroy()


async def test_a_signal(another, provision):
    _, host, user = another
    machine = await provision(host=host)
    command = "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    async with await machine.open_process(command, user=user, cwd="/") as process:
        with anyio.fail_after(HANGS):
            assert await process.stdout.receive() == b"up\n"
            await process.signal(signal.SIGTERM)
            assert await process.stdout.receive() == b"got it\n"
            assert await process.wait() == 3
    await machine.destroy()


@pytest.mark.parametrize("pty", [None, PtySize(80, 24)])
async def test_a_tree_is_killed(another, provision, seconds, pty):
    _, host, user = another
    machine = await provision(host=host)
    command = f"(setsid sleep {seconds} &) ; env -i sleep {seconds} & echo up; wait"
    process = await machine.open_process(command, user=user, cwd="/", pty=pty)
    with anyio.fail_after(HANGS):
        assert b"up" in await process.stdout.receive()
    await until(lambda: len(running(f"sleep\0{seconds}")) == 2)
    with anyio.fail_after(HANGS):
        await process.kill()
        await process.wait()
    assert not running(f"sleep\0{seconds}")
    await process.aclose()
    await machine.destroy()


async def test_a_deadline_where_nobody_hears(another, provision, seconds):
    server, host, user = another
    machine = await provision(host=host, lease=24)
    result = []

    async def run():
        command = ["sleep", seconds]
        result.append(await machine.exec(command, user=user, timeout=4, cwd="/"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: running(f"sleep\0{seconds}"))
        for pid in (stopped := server.processes()):  # as a pulled cable: nobody hears of it
            os.kill(pid, signal.SIGSTOP)
    assert result[0].timed_out
    await until(lambda: not running(f"sleep\0{seconds}"))
    folder = server.home / ".ramure" / "machines" / "m"
    assert folder.exists()  # by the deadline, and not by the lease
    assert not (folder / "ending").exists()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    await machine.destroy()


async def test_what_is_cancelled_at_any_moment_never_runs(another, provision, seconds):
    _, host, user = another
    machine = await provision(host=host)
    for after in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2):
        with anyio.move_on_after(after):
            await machine.exec(["sleep", seconds], user=user, cwd="/")
    await anyio.sleep(1)
    await until(lambda: not running(f"sleep\0{seconds}"))
    await machine.destroy()


async def test_no_script_stays(another, provision, seconds):
    _, host, user = another
    before = left_by(accounts.OTHER)
    machine = await provision(host=host)
    for after in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        with anyio.move_on_after(after):
            size = PtySize(80, 24)
            await machine.open_process(["sleep", seconds], user=user, cwd="/", pty=size)
    await machine.destroy()
    await until(lambda: not running(f"sleep\0{seconds}"))
    await until(lambda: left_by(accounts.OTHER) == before)


async def test_nothing_is_left_when_the_machine_goes(another, provision, seconds):
    server, host, user = another
    machine = await provision(host=host)
    await machine.exec(f"setsid sleep {seconds} >/dev/null 2>&1 &", user=user, cwd="/")
    await until(lambda: running(f"sleep\0{seconds}"))
    await machine.destroy()
    assert not running(f"sleep\0{seconds}")
    assert not (server.home / ".ramure").exists()
