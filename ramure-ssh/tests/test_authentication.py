"""How a host is told who logs in: agents, certificates, other names."""

import shutil
import sys
import tempfile
from getpass import getuser
from pathlib import Path

import anyio
import pytest

import accounts
import ssh_servers
from ramure_ssh.errors import HostKeyChanged, LoginRefused

HANGS = 60


async def runs(machine):
    try:
        return (await machine.exec("echo here")).stdout == "here\n"
    finally:
        await machine.destroy()


def change(here, old, new):
    config = here / ".ssh" / "config"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


@pytest.fixture
async def ssh_agent(monkeypatch):
    """An agent of the test's own; gives what adds a key."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        socket = Path(folder) / "agent"
        command = ["ssh-agent", "-D", "-a", str(socket)]
        async with await anyio.open_process(command, stdin=None, stdout=None) as agent:
            with anyio.fail_after(HANGS):
                while not socket.exists():
                    await anyio.sleep(0.02)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            yield lambda key: anyio.run_process(["ssh-add", "-q", key])
            agent.terminate()


async def test_a_key_that_only_an_agent_has(box, provision, here, ssh_agent, keys):
    change(here, f"  IdentityFile {box.folder}/key\n  IdentitiesOnly yes\n", "")
    with pytest.raises(LoginRefused):
        await provision()
    await ssh_agent(keys / "key")
    assert await runs(await provision())


async def test_a_persons_certificate(new_server, provision, here, tmp_path):
    for name in ("authority", "person"):
        ssh_servers.new_key(tmp_path / name)
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "authority", "-I", "x", "-n", getuser()]
    await anyio.run_process([*sign, tmp_path / "person.pub"])
    certificate = (tmp_path / "person-cert.pub").rename(tmp_path / "signed.pub")
    server = new_server(more=f"TrustedUserCAKeys {tmp_path}/authority.pub")
    (server.folder / "authorized").write_text("")
    key = tmp_path / "person"
    with pytest.raises(LoginRefused):
        await provision(host="own", keys=(key,))
    assert await runs(await provision(host="own", keys=(key,), certificates=(certificate,)))
    change(
        here,
        f"IdentityFile {server.folder}/key",
        f"IdentityFile {key}\n  CertificateFile {certificate}",
    )
    assert await runs(await provision(host="own"))


async def test_an_address_overrules_the_configuration(new_server, provision, here):
    server = new_server()
    change(here, f"Port {server.port}", "Port 1")
    change(here, f"User {getuser()}", "User nobody-at-all")
    assert await runs(await provision(host=f"{getuser()}@own:{server.port}"))


async def test_a_jump_host_that_shows_another_key(box, new_server, provision, here, tmp_path):
    new_server()
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + "  ProxyJump box\n")
    ssh_servers.new_key(tmp_path / "other")
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    known = here / ".ssh" / "known_hosts"
    known.write_text(
        known.read_text().replace(box.known_hosts(), "")
        + f"[{box.address}]:{box.port} {kind} {key}\n"
    )
    said = r"way to ssh://own: ssh://box .*Nothing has been sent.*ssh-keygen -R"
    with pytest.raises(HostKeyChanged, match=said):
        await provision(host="own")


ASK = """
import anyio
from ramure.values import Host
from ramure_ssh.backend import SSHBackend
from ramure_ssh.image import SSHImage

async def main():
    backend, image = SSHBackend(), SSHImage(relay=False)
    machine = await backend.provision(image, Host("ssh", None, "everybodys"), name="m", labels={})
    print((await machine.exec("echo here")).stdout, end="")
    await machine.destroy()
    await backend.aclose()

anyio.run(main)
"""


async def test_what_the_computer_says_of_hosts(box, here, tmp_path):
    """In its own ``/etc``, which a mount namespace has; the person's own word counts first."""
    accounts.need_accounts()
    etc = tmp_path / "etc"
    shutil.copytree("/etc", etc, symlinks=True)
    (here / ".ssh/known_hosts").rename(etc / "ssh/ssh_known_hosts")
    said = (here / ".ssh/config").read_text().replace("Host box", "Host everybodys")
    (etc / "ssh/ssh_config").write_text(said.replace(f"Port {box.port}", "Port 1"))
    (here / ".ssh/config").write_text(f"Host every*\n  Port {box.port}\n")
    command = ["unshare", "--mount", "sh", "-c", accounts.MOUNT, "sh", etc, sys.executable]
    done = await anyio.run_process([*command, "-c", ASK], check=False)
    assert (done.stdout, done.returncode) == (b"here\n", 0), done.stderr.decode()
