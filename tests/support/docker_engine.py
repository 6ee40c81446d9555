"""A Docker engine of the tests' own: shared by all that run at a time, ended after the last.

With its own folders, socket and network namespace: an engine that the computer may have is never
touched, and no bridge and no firewall rule stays behind. It needs root and ``dockerd``
(``scripts/system-packages`` installs it).
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

import docker_images
from ramure.values import Host

PATIENCE = 60
PROGRAMS = ("busybox", "dockerd", "containerd", "runc", "iptables", "unshare", "nsenter")
GATEWAY = "172.30.77.1"
"""What containers on the bridge call the computer; in the engine's own namespace."""

BARE = "ramure-test/bare"
IMAGES = {
    "ramure-test/shell": {},
    "ramure-test/node": {"programs": [*docker_images.BASIC, "node", "tmux"], "python": True},
}


class Missing(Exception):
    """There can be no engine here; the message says why and what to do."""


def require():
    """Raise ``Missing`` where no engine can be started."""
    if os.getuid() != 0:
        raise Missing("starting a Docker engine needs root")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise Missing(f"{', '.join(missing)} not installed: as root, make test installs them")


@contextmanager
def shared(folder):
    """The engine that everybody who names this folder shares."""
    require()
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users"
    users.mkdir(exist_ok=True)
    mine = users / f"{os.getpid()}-{secrets.token_hex(4)}"  # one process may use it twice
    with _locked(folder):
        mine.touch()
        if not (folder / "engine.json").exists():
            engine = Engine.start()
            engine.add_images()
            (folder / "engine.json").write_text(json.dumps(vars(engine)))
        engine = Engine(**json.loads((folder / "engine.json").read_text()))
    try:
        yield engine
    finally:
        with _locked(folder):
            mine.unlink()
            if not [pid for pid in users.iterdir() if _lives(int(pid.name.partition("-")[0]))]:
                (folder / "engine.json").unlink(missing_ok=True)
                engine.end()


@contextmanager
def alone(engine):
    """No other test uses the engine meanwhile, nor finds a tool set there afterwards."""
    with _locked(Path(engine.folder)):
        try:
            yield engine
        finally:
            with_client(engine.url, _forget_sets)


def _forget_sets(api):
    for volume in api.volumes(filters={"label": "ramure.tools"})["Volumes"] or []:
        with suppress(docker.errors.APIError):  # a container that should not be there has it
            api.remove_volume(volume["Name"])


@contextmanager
def _locked(folder):
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lives(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


class Engine:
    """A running engine."""

    def __init__(self, folder, pid, port=0):
        self.folder, self.pid, self.port = folder, pid, port

    @property
    def socket(self):
        return f"{self.folder}/docker.sock"

    @property
    def url(self):
        return f"unix://{self.socket}"

    @property
    def place(self):
        """Its port on this computer: without TLS, unless its options say otherwise."""
        return f"127.0.0.1:{self.port}"

    @classmethod
    def prepare(cls):
        """One that does not run yet, in a folder with a short path (unix sockets)."""
        return cls(tempfile.mkdtemp(prefix="docker-"), 0)

    @classmethod
    def start(cls, *options):
        """Start one."""
        engine = cls.prepare()
        engine.launch(*options)
        return engine

    def launch(self, *options):
        """Start its daemon; also after it was killed."""
        loopback = 'busybox ifconfig lo up; exec "$0" "$@"'
        command = [
            *("unshare", "--net", "--", "sh", "-c", loopback, "dockerd"),
            *("--data-root", f"{self.folder}/root", "--exec-root", f"{self.folder}/exec"),
            *("-p", f"{self.folder}/pid", "-H", self.url, "-H", "fd://", "--mtu", "1400"),
            *("--bip", f"{GATEWAY}/24", *options),
        ]
        # A child of nobody here: it outlives the worker that starts it.
        # The port is this namespace's, and reaches the daemon as systemd's would.
        with _door(self.port) as door:
            self.port = door.getsockname()[1]
            given = "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS"
            # Once, and as 3, which the daemon keeps to itself: what its containerd inherited would
            # hold the port when the daemon has ended.
            number = door.fileno()
            once = f"exec 3<&{number} {number}<&-" if number != 3 else ":"
            inner = f'{given}; {once}; exec "$@"'
            background = f'bash -c "$0" bash "$@" >>{self.folder}/log 2>&1 </dev/null & echo $!'
            started = subprocess.run(
                ["setsid", "sh", "-c", background, inner, *command],
                capture_output=True,
                check=True,
                env={**os.environ, "TMPDIR": self.folder},  # where containerd leaves its stacks
                pass_fds=[door.fileno()],
            )
        self.pid = int(started.stdout)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if not _runs(self.pid) or time.monotonic() > deadline:
                said = Path(f"{self.folder}/log").read_text()[-2000:]
                self.end()
                raise Missing(f"dockerd does not come up:\n{said}")
            time.sleep(0.05)

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as door, suppress(OSError):
            door.connect(self.socket)
            return True
        return False

    def add_images(self, *names):
        """Give it the images that the tests use, or only these, of this computer's own programs."""
        for name in names or (*IMAGES, BARE):
            root = docker_images.bare() if name == BARE else docker_images.archive(**IMAGES[name])
            add_image(self.url, name, root)

    @property
    def host(self):
        """It as a host."""
        return Host("docker", "unix", self.socket)

    def hang(self):
        """Answer nothing, until ``go_on``."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self):
        """Answer again; nothing where it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        """End the daemon, and wait for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        deadline = time.monotonic() + PATIENCE
        while _runs(self.pid) and time.monotonic() < deadline:
            time.sleep(0.02)

    def end(self):
        """End it with all that it leaves on the computer."""
        if self.pid:
            self.stop()
        for path in ("containerd/containerd.pid", "pid"):  # of a daemon that was killed
            with suppress(OSError, ValueError):
                os.kill(int(Path(f"{self.folder}/exec/{path}").read_text()), signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _door(port):
    """A listening socket; whoever borrowed the port meanwhile gives it back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def with_client(url, work):
    """Call ``work`` with the SDK's client."""
    api = docker.APIClient(base_url=url, version="auto", timeout=PATIENCE)
    try:
        return work(api)
    finally:
        api.close()


def add_image(url, name, data, *, changes=()):
    """Import a root file system, as bytes of a tar archive."""

    def load(api):
        params = {"fromSrc": "-", "repo": name, "tag": "latest", "changes": list(changes)}
        api._result(api._post(api._url("/images/create"), params=params, data=data))

    with_client(url, load)
