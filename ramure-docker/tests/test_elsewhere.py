"""Engines of other computers: by the system's ssh, and by TCP."""

import os
import shlex
import signal
import socket
import sys
import time
from contextlib import suppress
from getpass import getuser

import anyio
import pytest
from docker.errors import NotFound

import certificates
import docker_engine
import ending_programs
import parts
import ports
import ssh_servers
from container_programs import Program
from quick_start import run_task
from ramure import agent_process
from ramure.errors import LinkBroken, MachineStartFailed
from ramure.testing import ScriptedModel, ToolCall
from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.address import resolve
from ramure_docker.dial import dial

HANGS = 60


@pytest.fixture
def box(engine, tmp_path, monkeypatch):
    """A server that leads to the engine, and an ssh that knows it; gives the host."""
    if ssh_servers.find_sshd() is None:
        parts.lacking("there is no sshd: run scripts/system-packages tests")
    (tmp_path / "server").mkdir()
    environment = {"DOCKER_HOST": engine.url}
    server = ssh_servers.Server(tmp_path / "server", tmp_path / "home", env=environment)
    server.client(tmp_path / "client")
    ssh = tmp_path / "client/.ssh"
    (tmp_path / "bin").mkdir()
    known = shlex.quote(f"UserKnownHostsFile={ssh}/known_hosts")
    wrapper = tmp_path / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {ssh}/config -o {known} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["ssh", "tcp", "tls"])
def host(request, engine):
    """An engine of another computer, by each way that there is."""
    if request.param == "tls":
        return request.getfixturevalue("tls")
    if request.param == "ssh":
        request.getfixturevalue("box")
    return Host("docker", request.param, "box" if request.param == "ssh" else engine.place)


@pytest.fixture
def tls(engine, tmp_path, monkeypatch):
    """An engine that asks for certificates; ``engine`` only says that there can be one."""
    certificates.write(tmp_path)
    options = {"cacert": "ca", "cert": "server", "key": "server-key"}
    options = [f"--tls{option}={tmp_path}/{file}.pem" for option, file in options.items()]
    own = docker_engine.Engine.start("--tlsverify", *options)
    own.add_images()
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    yield Host("docker", "tcp", own.place)
    own.end()


async def test_commands_and_files(host, backend):
    """The end of an input too, and what nobody reads."""
    name = f"far-{host.variant}-{os.getpid()}"  # the engine is other workers', too
    image, labels = DockerImage("ramure-test/shell"), {"ramure.run": name}
    machine = await backend.provision(image, host, name=f"ramure-test-{name}", labels=labels)
    try:
        await commands_and_files(machine)
    finally:
        await machine.destroy()
    assert await backend.find(labels, host=host) == []
    await backend.aclose()


async def commands_and_files(machine):
    result = await machine.exec(["cat"], input=b"\0\xff" * 100_000)
    assert result.stdout_bytes == b"\0\xff" * 100_000
    assert (await machine.exec("echo early; sort", input=b"b\na\n")).stdout == "early\na\nb\n"
    much = os.urandom(3_000_000)
    await machine.write_file("/tmp/file", much)
    assert await machine.read_file("/tmp/file") == much
    with anyio.fail_after(HANGS), pytest.raises(IsADirectoryError):
        await machine.write_file("/tmp", much)
    async with await machine.open_process(["true"]) as process:
        with anyio.fail_after(HANGS), pytest.raises(anyio.BrokenResourceError):
            await process.stdin.send(bytes(20_000_000))  # and nobody reads
    assert (await machine.exec("exit 3")).exit_code == 3
    with anyio.fail_after(HANGS):
        assert (await machine.exec("sleep 1000", timeout=1)).timed_out


@pytest.mark.pi
@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("docker:ramure-test/node", f"ssh://{getuser()}@box"),
        ("ramure-test/node", f"docker+ssh://{getuser()}@box"),
    ],
)
async def test_an_agent_works_there(
    volumes_alone, engine, box, home, api, tmp_path, monkeypatch, image, host
):
    """The real pi, in a container of that computer's engine; nothing of it is left there."""
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    seen = {}

    async def look(machine):
        seen["ref"], seen["container"] = machine.ref, api.inspect_container(machine.ref.data["id"])

    def finish(request):
        return ToolCall("finish", summary=request.results[0].text.strip())

    task = agent_process(image=image, host=host, timeout=4 * HANGS)(run_task)
    async with (
        ScriptedModel([ToolCall("bash", command="cat /etc/hostname"), finish, "Goodbye."]) as model,
        ports.on_the_bridge(engine, model, tmp_path / "model.sock") as url,
    ):
        model.pi_folder(tmp_path / "pi")
        models = tmp_path / "pi/models.json"
        models.write_text(models.read_text().replace(model.url, url))
        monkeypatch.setenv("PI_CODING_AGENT_DIR", str(tmp_path / "pi"))
        told = await task("Say where you are.", prepare=look)
    assert seen["ref"].data["engine"] == f"ssh://{getuser()}@box"
    assert told == seen["container"]["Config"]["Hostname"]
    with pytest.raises(NotFound):
        api.inspect_container(seen["ref"].data["id"])
    assert not list((home / "runtimes").iterdir())
    assert not box.home.exists()  # nothing of ours is on the host itself
    await no_more(box)


async def no_more(box):
    """Nobody is logged in any more."""
    with anyio.fail_after(HANGS):
        while box.sessions():
            await anyio.sleep(0.05)


async def test_a_computer_that_cannot_be_reached(box, make):
    box.stop()
    with anyio.fail_after(HANGS), pytest.raises(MachineStartFailed, match="refused"):
        await make(host=Host("docker", "ssh", "box"))
    box.start()


KILLED = """
from ramure_docker import DockerImage

@agent_process
async def main():
    box = await machine(image=DockerImage("ramure-test/shell"), host="docker+ssh://box")
    say(box.name)
    say("up")
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_a_killed_program_leaves_nothing(box, api, tmp_path):
    """No file, no ssh, no container."""
    program = ending_programs.Program(tmp_path, KILLED)
    [name] = program.hear("up")
    program.signal(signal.SIGKILL)
    program.end()
    program.wait_clean(HANGS)
    assert api.containers(all=True, filters={"name": name}) == []


async def test_a_link_that_falls_silent(box, make):
    """A command without a time-out learns it; over the plain way, where nothing else asks."""
    machine = await make(DockerImage("ramure-test/shell"), host=Host("docker", "ssh", "box"))

    async def waits():
        with pytest.raises(LinkBroken) as caught:
            await machine.exec("echo >/tmp/up; exec sleep 1000")
        assert caught.value.outcome_unknown

    with anyio.fail_after(2 * HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            while not (await machine.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            stopped = box.silence()
    for session in stopped:
        with suppress(ProcessLookupError):
            os.kill(session, signal.SIGKILL)
    with anyio.fail_after(HANGS):
        while not (await machine.exec("test -e /tmp/up")).ok:
            await anyio.sleep(0.1)


async def test_tcp_is_kept_alive(engine):
    host = Host("docker", "tcp", engine.place)
    stream = await dial(resolve(host))
    connection = stream._writer.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000
    await stream.aclose()


@pytest.mark.parametrize("reference", ["ramure-test/shell", "ramure-test/node"])
async def test_a_blocked_loop_keeps_its_container(box, make, reference):
    """And the relay in it, where there is one: a thread speaks for it."""
    machine = await make(DockerImage(reference, lease=10), host=Host("docker", "ssh", "box"))
    if reference == "ramure-test/node":
        await machine.start_relay()
    async with await machine.open_process("echo up; exec sleep 1000") as process:
        await process.stdout.receive()
        time.sleep(25)  # noqa: ASYNC251 longer than the lease
        assert (await machine.exec("echo here")).stdout == "here\n"
        await process.kill()
        assert await process.wait() == -9


async def test_a_program_that_is_out_of_reach(box, make, api):
    """Its computer lost its power, say: no connection was closed, and the lease is the bound."""
    machine = await make(
        DockerImage("ramure-test/shell", lease=4), host=Host("docker", "ssh", "box")
    )
    box._process.send_signal(signal.SIGSTOP)
    stopped = box.silence()
    try:
        with anyio.fail_after(HANGS):
            while api.containers(all=True, filters={"label": f"ramure.run={make.run}"}):
                await anyio.sleep(0.1)
    finally:
        for session in stopped:
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
        box._process.send_signal(signal.SIGCONT)
    with anyio.fail_after(HANGS):
        await machine.destroy()


FAR = "docker+ssh://box"


@pytest.mark.usefixtures("box", "home")
async def test_a_killed_program_and_its_killed_keeper(containers):
    """The container ends by itself; no other run and no gc helps."""
    with Program(host=FAR, lease=4) as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        assert len(containers(program.run)) == 1
        with anyio.fail_after(HANGS):
            while containers(program.run):
                await anyio.sleep(0.1)


@pytest.mark.usefixtures("box", "home")
async def test_gc_removes_what_is_left(containers):
    with Program(host=FAR) as living, Program(host=FAR) as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        done = await anyio.run_process([sys.executable, "-m", "ramure", "gc"], check=False)
        assert done.returncode == 0, done.stderr
        assert program.machine in done.stdout.decode()
        assert not containers(program.run)
        assert len(containers(living.run)) == 1
