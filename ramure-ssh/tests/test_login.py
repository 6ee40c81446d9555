"""Getting in, and being told why not."""

import os
import shutil
from functools import partial
from getpass import getuser
from pathlib import Path

import anyio
import asyncssh
import pytest

import parts
import ssh_servers
from ramure.errors import MachineError, MachineStartFailed, PlacementError, UnsafePath
from ramure.values import Host
from ramure_ssh.errors import (
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    SSHError,
    UnfitAccount,
)


def known(home):
    return home / ".ssh" / "known_hosts"


async def runs(machine):
    try:
        return (await machine.exec("echo here")).stdout == "here\n"
    finally:
        await machine.destroy()


async def test_by_an_alias(box, provision):
    assert await runs(await provision())


async def test_by_an_address(box, provision, keys):
    host = f"{getuser()}@{box.address}:{box.port}"
    assert await runs(await provision(host=host, keys=(keys / "key",)))


@pytest.mark.parametrize(
    "location",
    [None, "", "me@", "@box", "me@box:0", "me@box:70000", "me@box/x", "a b", "-oProxyCommand=x"],
)
async def test_what_is_no_address(backend, location):
    with pytest.raises(PlacementError):
        backend.check_host(Host("ssh", None, location))


async def test_a_password_has_no_place_in_an_address(backend):
    with pytest.raises(PlacementError, match="RAMURE_SSH_PASSWORD") as caught:
        backend.check_host(Host("ssh", None, "me:hunter2@box"))
    assert "hunter2" not in str(caught.value)


async def test_an_unknown_host_key(box, provision, here):
    known(here).write_text("")
    fingerprint = asyncssh.read_public_key(box.folder / "host_key.pub").get_fingerprint()
    with pytest.raises(HostKeyUnknown, match=r"connect once with `ssh -p \d+ 127") as caught:
        await provision()
    assert fingerprint in str(caught.value)


async def test_a_changed_host_key(box, provision, here, tmp_path):
    ssh_servers.new_key(tmp_path / "other")
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    known(here).write_text(f"[{box.address}]:{box.port} {kind} {key}\n")
    with pytest.raises(HostKeyChanged, match=r"ssh-keygen -R '\[127.0.0.1\]:\d+'"):
        await provision()


async def test_a_hashed_host_key(box, provision, here):
    await anyio.run_process(["ssh-keygen", "-q", "-H", "-f", known(here)])
    assert "127.0.0.1" not in known(here).read_text()
    assert await runs(await provision())


async def test_a_revoked_host_key(box, provision, here):
    line = known(here).read_text()
    known(here).write_text(line + "@revoked " + line)
    with pytest.raises(SSHError):
        await provision()


async def test_no_known_hosts_file_at_all_trusts_nobody(box, provision, here):
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + "  UserKnownHostsFile none\n")
    with pytest.raises(HostKeyUnknown):
        await provision()


@pytest.mark.parametrize("option", ["UserKnownHostsFile", "GlobalKnownHostsFile"])
async def test_several_files_of_known_keys_of_which_some_are_missing(
    box, provision, here, tmp_path, option
):
    known(here).rename(tmp_path / "known")
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + f"  {option} {tmp_path}/missing {tmp_path}/known\n")
    assert await runs(await provision())


async def test_the_other_file_of_known_keys(box, provision, here):
    known(here).rename(known(here).with_name("known_hosts2"))
    assert await runs(await provision())


async def test_a_host_certificate(new_server, provision, here, tmp_path):
    ssh_servers.new_key(tmp_path / "authority")
    server = new_server()
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "authority", "-I", "x", "-h", "-n", "127.0.0.1"]
    await anyio.run_process([*sign, server.folder / "host_key.pub"])
    server.stop()
    server.configure(f"HostCertificate {server.folder}/host_key-cert.pub")
    server.start()
    known(here).write_text(
        f"@cert-authority [127.0.0.1]:{server.port} {(tmp_path / 'authority.pub').read_text()}"
    )
    assert await runs(await provision(host="own"))


async def test_a_key_that_is_not_wanted(box, provision, here, tmp_path):
    ssh_servers.new_key(tmp_path / "other")
    config = here / ".ssh" / "config"
    config.write_text(config.read_text().replace(f"{box.folder}/key", f"{tmp_path}/other"))
    with pytest.raises(LoginRefused, match="ssh-copy-id"):
        await provision()


@pytest.fixture
def locked_key(new_server, tmp_path):
    """Makes a key that is locked, which a host knows."""

    async def make(*how):
        server = new_server()
        key = tmp_path / "locked"
        await anyio.run_process(["ssh-keygen", "-q", *how, "-N", "open sesame", "-f", key])
        (server.folder / "authorized").write_bytes((tmp_path / "locked.pub").read_bytes())
        return server, key

    return make


@pytest.mark.parametrize("how", ["-t ed25519", "-t ecdsa -m PEM"])
async def test_a_key_with_a_passphrase(locked_key, provision, monkeypatch, how):
    _, key = await locked_key(*how.split())
    with pytest.raises(LoginRefused, match="RAMURE_SSH_PASSPHRASE"):
        await provision(host="own", keys=(key,))
    with pytest.raises(LoginRefused, match="RAMURE_SSH_PASSPHRASE"):
        await provision(host="own", keys=(key,), passphrase=lambda: "open barley")
    assert await runs(await provision(host="own", keys=(key,), passphrase=lambda: "open sesame"))
    monkeypatch.setenv("RAMURE_SSH_PASSPHRASE", "open sesame")
    assert await runs(await provision(host="own", keys=(key,)))


async def test_a_passphrase_is_asked_for_once(locked_key, provision):
    server, key = await locked_key("-t", "ed25519")
    asked = []

    async def ask():
        asked.append(await anyio.to_thread.run_sync(str, "open sesame"))
        return asked[-1]

    machine = await provision(host="own", keys=(key,), passphrase=ask, keepalive=1)
    server.drop()
    assert await runs(machine)
    assert len(asked) == 1


async def test_nobody_is_asked_where_a_key_will_do(new_server, provision):
    server = new_server()
    asked = []
    secrets = {name: partial(asked.append, name) for name in ("password", "passphrase")}
    machine = await provision(host="own", keepalive=1, **secrets)
    server.stop(rudely=True)
    await anyio.sleep(2)  # it tries to come back
    server.start()
    assert await runs(machine)
    assert not asked


async def test_nobody_there(new_server, provision):
    new_server().stop()
    with pytest.raises(HostUnreachable, match=r"ssh://own cannot be reached.*`ssh own`"):
        await provision(host="own")


async def test_a_config_file_of_its_own(box, provision, here, tmp_path):
    (here / ".ssh" / "config").rename(tmp_path / "elsewhere")
    known(here).rename(tmp_path / "known")
    machine = await provision(config=tmp_path / "elsewhere", known_hosts=tmp_path / "known")
    assert await runs(machine)


async def test_by_way_of_another_host(box, new_server, provision, here):
    new_server()
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + "  ProxyJump box\n")
    assert await runs(await provision(host="own"))


@pytest.fixture
def by_way_of_box(box, new_server, here):
    """The host ``own``, behind ``box``; gives what takes more lines of a configuration for that."""
    new_server()
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + "  ProxyJump box\n")

    def configure(*lines):
        own = "".join(f"  {line}\n" for line in lines)
        config.write_text(f"Host box\n{own}{config.read_text()}")

    return configure


@pytest.mark.parametrize("file", ["none", "{}/empty"])
async def test_an_unknown_key_of_the_host_on_the_way(by_way_of_box, provision, tmp_path, file):
    (tmp_path / "empty").write_text("")
    by_way_of_box(f"UserKnownHostsFile {file.format(tmp_path)}")
    with pytest.raises(HostKeyUnknown, match="connect once with"):
        await provision(host="own")


async def test_keys_that_are_known_elsewhere_of_the_host_on_the_way(
    by_way_of_box, box, provision, here, tmp_path
):
    (tmp_path / "known").write_text(box.known_hosts())
    known(here).write_text(known(here).read_text().replace(box.known_hosts(), ""))
    by_way_of_box(f"UserKnownHostsFile {tmp_path}/missing {tmp_path}/known")
    machine = await provision(host="own")
    assert await runs(machine)


async def test_a_way_that_leads_to_itself(box, provision, here):
    config = here / ".ssh" / "config"
    config.write_text(config.read_text() + "  ProxyJump box\n")
    with anyio.fail_after(90), pytest.raises(SSHError, match="ProxyJump"):
        await provision()


async def test_a_folder_that_is_not_there(box, provision, far_home):
    with pytest.raises(MachineStartFailed, match=r"there is no folder .*/not/there"):
        await provision(workdir="~/not/there")
    assert not (far_home / ".ramure" / "machines").exists()


async def test_folders_are_relative_to_the_home(box, provision, work, far_home):
    name = Path(work).name
    for number, workdir in enumerate((name, f"~/{name}", work)):
        machine = await provision(f"m{number}", workdir=workdir)
        assert machine.workdir == work
        await machine.destroy()
    machine = await provision()
    assert machine.workdir == str(far_home)
    await machine.destroy()


# --- other shells


def through(program):
    """A server on which all goes through another shell than the account's own."""
    return f'ForceCommand {program} -c "$SSH_ORIGINAL_COMMAND"'


@pytest.mark.parametrize("shell", ["fish", "tcsh", "dash", "bash", "zsh"])
async def test_other_login_shells(new_server, provision, shell, which):
    new_server(more=through(which(shell)))
    machine = await provision(host="own", env={"ODD": 'it\'s "odd"\n!$HOME\\'})
    result = await machine.exec(["printf", "%s|", "a'b", "c\nd", "!e", "$f", "\\g", ""])
    assert result.stdout == "a'b|c\nd|!e|$f|\\g||"
    assert (await machine.exec('printf %s "$ODD"; exit 3')).stdout == 'it\'s "odd"\n!$HOME\\'
    assert (await machine.exec("kill -9 $$")).exit_code in {-9, 137}
    assert (await machine.exec("sleep 1000", timeout=0.5)).timed_out
    await machine.destroy()


@pytest.fixture
def which():
    """Gives a shell's path."""

    def find(shell):
        path = shutil.which(shell)
        if path is None:
            parts.lacking(f"there is no {shell}: install it to test it")
        return path

    return find


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ForceCommand echo only backups here", "only backups here"),
        ("ForceCommand exit 1", "it says nothing"),
        ("ForceCommand internal-sftp", "runs no commands"),
    ],
)
async def test_an_account_that_runs_no_commands(new_server, provision, command, words):
    new_server(more=command)
    with pytest.raises(UnfitAccount, match=words):
        await provision(host="own")


async def test_a_restricted_shell(new_server, provision, which):
    new_server(more=through(which("rbash")))
    with pytest.raises(UnfitAccount, match="restricted"):
        await provision(host="own")


@pytest.mark.parametrize("relay", [False, True])
async def test_a_host_without_tar(without, provision, there, tmp_path, relay):
    without("tar", "busybox")
    machine = await provision(host="own", relay=relay)
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub" / "big").write_bytes(os.urandom(3_000_000))
    (tree / "run").write_text("#!/bin/sh")
    (tree / "run").chmod(0o751)
    (tree / "sub" / "link").symlink_to("../run")
    (tree / "sub").chmod(0o550)
    try:
        (there / "tree").mkdir()
        (there / "tree" / "run").write_text("an older one")
        await machine.upload(tree, "tree")
        await machine.upload(tree, "new/tree")
        await machine.download("tree", tmp_path / "back")
        (there / "evil").mkdir()
        (there / "evil" / "link").symlink_to("/etc")
        with pytest.raises(UnsafePath):
            await machine.download("evil", tmp_path / "evil")
        with pytest.raises(FileNotFoundError):
            await machine.download("missing", tmp_path / "missing")
    finally:
        await machine.destroy()
    for copy in (there / "tree", there / "new" / "tree", tmp_path / "back"):
        assert shape(copy) == shape(tree)
        (copy / "sub").chmod(0o755)


def shape(tree):
    """Everything in a folder, with its mode and its content."""
    return {
        str(path.relative_to(tree)): path.readlink()
        if path.is_symlink()
        else (path.stat().st_mode, int(path.stat().st_mtime), path.read_bytes())
        if path.is_file()
        else path.stat().st_mode
        for path in tree.rglob("*")
    }


async def test_a_host_with_neither_tar_nor_sftp(without, provision, tmp_path):
    server = without("tar", "busybox")
    config = server.folder / "config"
    server.stop()
    config.write_text(config.read_text().replace("Subsystem sftp internal-sftp\n", ""))
    server.start()
    machine = await provision(host="own")
    (tmp_path / "tree").mkdir()
    with pytest.raises(MachineError, match="neither tar nor SFTP"):
        await machine.upload(tmp_path / "tree", "tree")
    await machine.destroy()


async def test_a_shell_that_talks_first(new_server, provision):
    new_server(more='ForceCommand echo Welcome; echo to $USER; sh -c "$SSH_ORIGINAL_COMMAND"')
    machine = await provision(host="own")
    assert (await machine.exec("echo here")).stdout == "here\n"
    await machine.destroy()
