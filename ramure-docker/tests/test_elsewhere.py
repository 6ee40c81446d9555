"""Engines of other computers: by the system's ssh, and by TCP."""

import os
import shlex

import anyio
import pytest

import parts
import ssh_servers
from ramure.errors import MachineStartFailed
from ramure.values import Host
from ramure_docker import DockerImage

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


async def test_by_ssh(box, make):
    host = Host("docker", "ssh", "box")
    machine = await make(host=host)
    result = await machine.exec(["cat"], input=b"\0\xff" * 100_000)
    assert result.stdout_bytes == b"\0\xff" * 100_000
    assert (await machine.exec("exit 3")).exit_code == 3
    with anyio.fail_after(HANGS):
        assert (await machine.exec("sleep 1000", timeout=1)).timed_out


async def test_a_computer_that_cannot_be_reached(box, make):
    box.stop()
    with anyio.fail_after(HANGS), pytest.raises(MachineStartFailed, match="refused"):
        await make(host=Host("docker", "ssh", "box"))
    box.start()


async def test_nothing_stays_behind(box, make, backend):
    machine = await make(DockerImage("ramure-test/shell"), host=Host("docker", "ssh", "box"))
    [ref] = await backend.find({"ramure.run": make.run}, host=Host("docker", "ssh", "box"))
    assert ref.data["id"] == machine.ref.data["id"]
    await machine.destroy()
    [site] = backend._sites.values()
    socket = anyio.Path(site.engine._door.path)
    assert await socket.exists()
    await backend.aclose()
    assert not await socket.parent.exists()
