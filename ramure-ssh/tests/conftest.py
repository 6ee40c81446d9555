"""A real SSH server, homes of the test's own on both sides, and machines there."""

import itertools
import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import parts
import ssh_servers
from ramure.values import Host
from ramure_ssh.backend import SSHBackend
from ramure_ssh.image import SSHImage

LABELS = {"ramure.run": "r", "ramure.owner": "me"}

_numbers = itertools.count()


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture
def ramure_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("RAMURE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def sshd_there():
    """There is a server to be started."""
    if ssh_servers.find_sshd() is None:
        parts.lacking("there is no sshd: install openssh-server (as root, make test does)")


@pytest.fixture(scope="session")
def keys(sshd_there, tmp_path_factory):
    """A folder with a host's key and a person's."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host_key", "key"):
        ssh_servers.new_key(folder / name)
    return folder


@pytest.fixture(scope="session")
def far_home():
    """The home on the host: with a short path (unix sockets)."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_server(keys, far_home):
    """A host like many others, to be left as it is."""
    with ssh_servers.server(keys, far_home) as server:
        yield server


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The home on this side."""
    home = tmp_path / "me"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def there():
    """The home on a host of the test's own."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def box(shared_server, here):
    """The shared host, known here as ``box``."""
    shared_server.client(here)
    return shared_server


@pytest.fixture
def new_server(keys, there, here, tmp_path):
    """Makes hosts that are known here as ``own``, or by another alias."""
    running = []

    def make(alias="own", home=there, **options):
        folder = tmp_path / f"sshd-{alias}"
        folder.mkdir()
        for file in keys.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
            (folder / file.name).chmod(0o600)
        server = ssh_servers.Server(folder, home, **options)
        running.append(server)
        server.start()
        server.client(here, alias)
        return server

    yield make
    for server in running:
        server.stop(rudely=True)


@pytest.fixture
def without(new_server, there):
    """A host that lacks some programs."""

    def make(*programs, **options):
        folder = there / "bin"
        folder.mkdir()
        for program in os.scandir("/usr/bin"):
            if program.name not in programs:
                (folder / program.name).symlink_to(program.path)
        return new_server(env={"PATH": str(folder)}, **options)

    return make


@pytest.fixture
async def backend():
    backend = SSHBackend()
    yield backend
    await backend.aclose()


@pytest.fixture
def provision(backend):
    """Makes machines."""

    async def make(name="m", host="box", **options):
        options.setdefault("relay", False)
        image = SSHImage(**options)
        return await backend.provision(image, Host("ssh", None, host), name=name, labels=LABELS)

    return make


@pytest.fixture
def work(box, far_home):
    """An empty folder on the shared host."""
    with tempfile.TemporaryDirectory(dir=far_home) as folder:
        yield folder


@pytest.fixture
async def make(box, backend, far_home):
    """Makes machines, in empty folders on the shared host; nothing is left of them."""
    async with _making(box, backend, far_home) as make:
        yield make


@pytest.fixture(scope="class")
async def make_for_class(shared_server, far_home, tmp_path_factory):
    """The same for a class of tests."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("me")
        patch.setenv("HOME", str(home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        shared_server.client(home)
        backend = SSHBackend()
        async with _making(shared_server, backend, far_home) as make:
            yield make
        await backend.aclose()


@asynccontextmanager
async def _making(server, backend, far_home):
    machines = server.home / ".ramure" / "machines"
    before = {*machines.glob("*")}
    made = []
    with tempfile.TemporaryDirectory(dir=far_home) as folder:

        async def make(**options):
            name = f"m{next(_numbers)}"
            work = Path(folder) / name
            work.mkdir()
            image = SSHImage(workdir=str(work), **options)
            host = Host("ssh", None, "box")
            machine = await backend.provision(image, host, name=name, labels=LABELS)
            made.append(machine)
            return machine

        yield make
        for machine in made:
            await machine.destroy()
    assert {*machines.glob("*")} == before


@pytest.fixture
async def plain(box, provision, work):
    """A machine without a relay; nothing is left of it."""
    machine = await provision(workdir=work)
    yield machine
    await machine.destroy()
    assert not (box.home / ".ramure" / "machines").exists()


@pytest.fixture
async def relayed(box, provision, work):
    """A machine with a relay; nothing is left of it."""
    machine = await provision(workdir=work, relay=True)
    assert machine.relay is not None
    yield machine
    await machine.destroy()
    assert not (box.home / ".ramure" / "machines").exists()
