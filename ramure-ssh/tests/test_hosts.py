"""Many machines on one host, several hosts, and what is left of machines."""

import asyncio
import json
import shutil
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from getpass import getuser

import anyio
import psutil
import pytest

from ramure import agent_process, machine
from ramure.errors import InvalidName, MachineError, MachineGone, MachineStartFailed
from ramure.relay import RelayedMachine
from ramure.values import Host, MachineRef
from ramure_ssh import checks, known, sessions
from ramure_ssh.backend import SSHBackend
from ramure_ssh.errors import TooManySessions
from ramure_ssh.login import CONNECTING

OWN = Host("ssh", None, "own")
HANGS = 90


@asynccontextmanager
async def destroyed(machine):
    try:
        yield machine
    finally:
        await machine.destroy()


# --- sessions


@pytest.mark.parametrize("limit", [2, 4])
async def test_more_commands_than_sessions_wait(new_server, provision, limit):
    new_server(more=f"MaxSessions {limit}")
    async with destroyed(await provision(host="own")) as machine:
        results = []

        async def run(number):
            results.append((await machine.exec(f"sleep 0.1; echo {number}")).stdout)

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(run, number)
    assert sorted(map(int, results)) == [*range(12)]


async def test_many_relayed_machines_on_a_host_of_few_sessions(new_server, provision):
    server = new_server(more="MaxSessions 3")
    async with AsyncExitStack() as stack:
        for number in range(6):
            machine = await provision(f"m{number}", host="own", relay=True)
            await stack.enter_async_context(destroyed(machine))
            assert isinstance(machine, RelayedMachine)
            assert machine.relay is not None
            assert (await machine.exec("echo here")).stdout == "here\n"
        shells = server.sessions()
        assert len(shells) <= 3  # one connection: its monitor, and one process that serves it


async def test_a_relay_where_sockets_are_not_forwarded(new_server, provision):
    new_server(more="AllowStreamLocalForwarding no")
    async with destroyed(await provision(host="own", relay=True)) as machine:
        assert machine.relay is not None
        assert (await machine.exec("echo here")).stdout == "here\n"


async def test_no_route_where_sockets_are_not_forwarded(new_server, provision, tmp_path):
    from ramure.transport import Target
    from ramure_ssh.transport import SSHTransport

    new_server(more="AllowStreamLocalForwarding no")
    async with destroyed(await provision(host="own")) as machine:
        with pytest.raises(MachineError, match="AllowStreamLocalForwarding"):
            await SSHTransport().open(machine, Target(str(tmp_path / "socket")))


async def test_sessions_that_are_held(new_server, provision, there):
    new_server()
    machine = await provision(host="own", max_sessions=3)
    process = await machine.open_process(["sleep", "1000"])
    with anyio.fail_after(HANGS):
        assert (await machine.exec("echo here")).stdout == "here\n"  # has one that nothing holds
        await machine.write_file("file", b"data")
        with pytest.raises(TooManySessions, match="MaxSessions"):
            await machine.open_process(["sleep", "1000"])
        await machine.destroy()
        await process.aclose()
    assert not (there / ".ramure").exists()


async def test_a_machine_goes_though_all_sessions_are_held(new_server, provision, there):
    new_server(more="MaxSessions 3")  # which is found out only when it is too late
    machine = await provision(host="own")
    for _ in range(2):
        await machine.open_process(["sleep", "1000"])
    with anyio.fail_after(HANGS), pytest.raises(TooManySessions):
        await machine.exec("true")
    with anyio.fail_after(HANGS):
        await machine.destroy()
    assert not (there / ".ramure").exists()
    async with destroyed(await provision("n", host="own")) as again:  # its sessions are free
        assert (await again.exec("echo here")).stdout == "here\n"


async def test_a_large_file_though_all_sessions_are_held(new_server, provision, there, monkeypatch):
    monkeypatch.setattr(sessions, "PATIENCE", 1.0)
    new_server(more="MaxSessions 3")
    async with destroyed(await provision(host="own", relay=True)) as machine:
        for _ in range(2):
            await machine.plain.open_process(["sleep", "1000"])
        with anyio.fail_after(HANGS):
            await machine.write_file("file", b"x" * 5_000_000)
            assert await machine.read_file("file") == b"x" * 5_000_000


async def test_a_short_lease_beside_a_long_one(new_server, provision):
    new_server()
    async with destroyed(await provision(host="own", lease=120)) as first:
        await anyio.sleep(2)  # by now its first signs of life are said, the next is far
        assert (await first.exec("echo here")).stdout == "here\n"
        async with destroyed(await provision("short", host="own", lease=3)) as short:
            assert short.connection is first.connection
            await anyio.sleep(6)  # twice its lease
            assert (await short.exec("echo here")).stdout == "here\n"


async def test_one_connection_by_whatever_name(new_server, provision):
    server = new_server()
    by_address = f"{getuser()}@127.0.0.1:{server.port}"
    async with AsyncExitStack() as stack:

        async def made(name, host, **options):
            machine = await provision(name, host=host, **options)
            await stack.enter_async_context(destroyed(machine))
            return machine.connection

        first = await made("m1", "own")
        assert await made("m2", f"{getuser()}@own", keepalive=1, lease=60) is first
        assert await made("m3", by_address, keys=(server.folder / "key",)) is first


async def test_a_silent_host_holds_up_no_other(new_server, provision):
    new_server()

    async def say_nothing(reader, writer):
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with silent, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(provision, "never", host=f"me@127.0.0.1:{port}"))
        await anyio.sleep(0.3)
        with anyio.fail_after(CONNECTING * 0.7):  # before the other is given up
            async with destroyed(await provision(host="own")) as machine:
                assert (await machine.exec("echo here")).stdout == "here\n"
        tasks.cancel_scope.cancel()


# --- several hosts


async def test_a_pool_of_hosts(new_server, tmp_path, ramure_home, there):
    homes = {}
    for name in ("a", "b"):
        homes[name] = there / name
        homes[name].mkdir()
        new_server(name, home=homes[name])

    @agent_process(host=["ssh://a", "ssh://b"], image="~", timeout=60)
    async def main():
        found = []
        for _ in range(4):
            one = await machine()
            found.append((await one.exec("echo $HOME")).stdout.strip())
        return found

    assert sorted(await main()) == sorted([str(homes["a"]), str(homes["b"])] * 2)
    assert not list(there.glob("*/.ramure/machines"))


# --- what is there, and what is left


async def test_machines_are_found_by_their_labels(new_server, provision, there):
    new_server()
    async with destroyed(await provision(host="own")) as machine:
        other = SSHBackend()
        (ref,) = await other.find({"ramure.run": "r"}, host=OWN)
        assert await other.find({"ramure.run": "s"}, host=OWN) == []
        assert ref.name == machine.name
        again = await other.attach(MachineRef(ref.backend, ref.name, json.loads(_json(ref))))
        assert (await again.exec(["pwd"])).stdout.strip() == str(there)
        await other.destroy(ref)
        await other.destroy(ref)
        assert await other.find({}, host=OWN) == []
        with pytest.raises(MachineGone):
            await other.attach(ref)
        await other.aclose()
    assert not (there / ".ramure").exists()


def _json(ref):
    return json.dumps(dict(ref.data))


async def test_what_was_half_made_is_found(new_server, backend, there):
    new_server()
    folder = there / ".ramure" / "machines"
    folder.mkdir(parents=True)
    known_of = {"name": "m", "mark": "0123456789abcdef", "labels": {"ramure.run": "r"}}
    (folder / "m.json").write_text(json.dumps(known_of))
    (folder / "n.json").write_text("half a lin")
    (ref,) = await backend.find({"ramure.run": "r"}, host=OWN)
    await backend.destroy(ref)
    assert [entry.name for entry in folder.iterdir()] == ["n.json"]


async def test_one_of_each_name(new_server, provision):
    new_server()
    async with destroyed(await provision(host="own")) as machine:
        with pytest.raises(MachineStartFailed, match="there is one of this name"):
            await provision(host="own")
        assert (await machine.exec("echo here")).stdout == "here\n"
    for name in ("", "..", "a/b", "-x"):
        with pytest.raises(InvalidName):
            await provision(name, host="own")


async def test_a_disk_that_takes_nothing(new_server, provision, there):
    new_server()
    folder = there / ".ramure" / "machines"
    folder.mkdir(parents=True)
    (folder / "m.json").symlink_to("/no/such/folder/m.json")  # what is written leads nowhere
    with pytest.raises(MachineStartFailed) as caught:
        await provision(host="own")
    assert "of this name" not in str(caught.value)
    assert "m.json" in str(caught.value)


async def test_a_removal_that_fails_is_tried_again(new_server, provision, backend, there):
    tools = there / "bin"
    tools.mkdir()
    stuck = f'[ "$1" != -rf ] || [ ! -e {there}/stuck ] || exit 1'
    (tools / "rm").write_text(f'#!/bin/sh\n{stuck}\nexec /bin/rm "$@"\n')
    (tools / "rm").chmod(0o755)
    new_server(env={"PATH": f"{tools}:/usr/bin:/bin"})
    machine = await provision(host="own", lease=2)
    (there / "stuck").write_text("")
    await backend.aclose()  # as far as the host knows, the program is dead
    folder = there / ".ramure" / "machines" / machine.name
    with anyio.fail_after(HANGS):
        while not (folder / "ending").exists():
            await anyio.sleep(0.1)
        await anyio.sleep(3)  # it has tried
        (there / "stuck").unlink()
        while folder.exists():
            await anyio.sleep(0.1)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.1, 0.2, 0.3])
async def test_a_cancelled_making_leaves_nothing(new_server, provision, backend, after, there):
    new_server()
    made = None
    with anyio.move_on_after(after):
        made = await provision(host="own", relay=True)
    if made is not None:
        await made.destroy()
    assert await backend.find({}, host=OWN) == []
    assert not (there / ".ramure").exists()


async def test_a_making_that_is_cancelled_while_the_host_makes(
    new_server, provision, backend, there
):
    """It goes on there, whoever has stopped listening, and must not come after the cleanup."""
    tools = there / "bin"
    tools.mkdir()
    begun = there / "begun"
    slow = f"[ -e {begun} ] || {{ echo $PPID >{begun}-; mv {begun}- {begun}; sleep 1; }}"
    (tools / "mkdir").write_text(f'#!/bin/sh\n{slow}\nexec /bin/mkdir "$@"\n')
    (tools / "mkdir").chmod(0o755)
    new_server(env={"PATH": f"{tools}:/usr/bin:/bin"})
    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(provision, host="own"))
            while not begun.exists():
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        maker = int(begun.read_text())
        while psutil.pid_exists(maker):
            await anyio.sleep(0.05)
    assert await backend.find({}, host=OWN) == []
    assert not (there / ".ramure").exists()


async def test_a_home_too_long_for_sockets(new_server, provision, there):
    home = there / ("h" * 60)
    home.mkdir()
    new_server(home=home)
    async with destroyed(await provision(host="own", relay=True)) as machine:
        assert machine.state_dir.startswith("/tmp/.ramure-")
        assert machine.relay is not None
        assert (await machine.exec("echo here")).stdout == "here\n"


async def test_variables_that_no_shell_could_export(new_server, provision):
    from ramure.errors import UsageError

    new_server()
    async with destroyed(await provision(host="own")) as machine:
        with pytest.raises(UsageError, match="environment variable"):
            await machine.exec("true", env={"A.B": "1"})


# --- doctor


async def test_a_doctor_sees_that_processes_are_killed(new_server, provision, ramure_home, there):
    tools = there / "bin"
    tools.mkdir()
    (tools / "busctl").write_text("#!/bin/sh\necho b true\n")
    (tools / "busctl").chmod(0o755)
    server = new_server(env={"PATH": f"{tools}:/usr/bin:/bin"})
    assert await checks.hosts() == []
    async with destroyed(await provision(host="own")):
        pass
    (problem,) = await checks.hosts()
    assert "ssh://own" in problem.what
    assert "KillUserProcesses=no" in problem.cure
    (tools / "busctl").write_text("#!/bin/sh\necho b false\n")
    assert await checks.hosts() == []
    server.stop(rudely=True)
    (problem,) = await checks.hosts()
    assert "cannot be reached" in problem.what


async def test_hosts_are_remembered_once(new_server, provision, ramure_home):
    new_server()
    for number in range(2):
        async with destroyed(await provision(f"m{number}", host="own")):
            pass
    assert [str(login.address) for login in known.read()] == ["own"]
    (ramure_home / "ssh-hosts.json").write_text("{")
    assert known.read() == []


@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_names_that_a_shell_keeps_for_itself(new_server, provision, there, shell):
    """To export UID ends a script of bash's, where that is the host's sh."""
    (there / "bin").mkdir()
    (there / "bin/sh").symlink_to(shutil.which(shell))
    new_server(env={"PATH": f"{there}/bin:/usr/bin:/bin"})
    machine = await provision(host="own")
    env = {"UID": "77", "RANDOM": "a b", "PPID": "78", "ordinary": "79"}
    said = (await machine.exec(["env", "-0"], env=env, check=True)).stdout.split("\0")
    assert {f"{name}={value}" for name, value in env.items()} <= {*said}
