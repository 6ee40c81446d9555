"""Real OpenSSH servers of the tests' own: plain processes with keys of their own, on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path

CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized
AuthorizedKeysCommand /bin/cat {folder}/authorized
AuthorizedKeysCommandUser {user}
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UsePAM no
LogLevel ERROR
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv HOME={home} {env}
{more}
"""

ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""A server whose tests are killed ends, too; and so do the sessions, whose clients are gone."""

CLIENT = """\
Host {alias}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
"""


def find_sshd():
    """Where the server is; sshd wants to be called by its full path."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def new_key(path, *options):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path, *options],
        check=True,
        stdin=subprocess.DEVNULL,
    )


class Server:
    """One server, the home that it gives, and how a client finds it.

    Attributes:
        home: ``HOME`` of whoever logs in.
    """

    def __init__(self, folder, home, *, more="", env=None, wrap=(), address="127.0.0.1", port=None):
        self.folder, self.home = Path(folder), Path(home)
        self.address, self.port = address, port or free_port(address)
        self._wrap = wrap
        self._process = None
        for name in ("host_key", "key"):
            if not (self.folder / name).exists():
                new_key(self.folder / name)
        shutil.copy(self.folder / "key.pub", self.folder / "authorized")
        self.configure(more, env)

    def configure(self, more="", env=None):
        """Write the configuration; a server that runs has to be started again."""
        variables = " ".join(f'"{name}={value}"' for name, value in (env or {}).items())
        text = CONFIG.format(
            port=self.port,
            address=self.address,
            folder=self.folder,
            home=self.home,
            user=getuser(),
            env=variables,
            more=more,
        )
        (self.folder / "config").write_text(text)

    def client(self, home, alias="box"):
        """Have a client with this home know the server as ``alias``."""
        ssh = Path(home) / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (ssh / "config").open("a") as config:
            config.write(
                CLIENT.format(
                    alias=alias,
                    address=self.address,
                    port=self.port,
                    user=getuser(),
                    folder=self.folder,
                )
            )
        with (ssh / "known_hosts").open("a") as known:
            known.write(self.known_hosts())

    def known_hosts(self):
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[{self.address}]:{self.port} {kind} {key}\n"

    def start(self):
        """Start it; it is there when this returns."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrap, *ENDS_WITH_US, find_sshd(), "-D", "-e", "-f", self.folder / "config"],
                stdin=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
            )
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=5).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def sessions(self):
        """The server's processes for those that are logged in."""
        found, ours = [], {self._process.pid}
        for _ in range(4):
            for entry in Path("/proc").iterdir():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    name = (entry / "comm").read_text().strip()
                except (OSError, IndexError, ValueError):
                    continue
                if parent in ours and int(entry.name) not in ours and name.startswith("sshd"):
                    ours.add(int(entry.name))
                    found.append(int(entry.name))
        return found

    def silence(self):
        """Stop the processes of those that are logged in; gives which, for ``SIGKILL``."""
        stopped = []
        for pid in self.sessions():
            with suppress(ProcessLookupError):  # it was about to end
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        return stopped

    def processes(self):
        """All of the server."""
        return [self._process.pid, *self.sessions()]

    def drop(self):
        """End all connections, rudely; the server goes on."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)

    def stop(self, *, rudely=False):
        """End it; with all connections, where ``rudely``."""
        if self._process is None:
            return
        if rudely:
            # Stopped first: a client that comes again at once would leave a session behind.
            self._process.send_signal(signal.SIGSTOP)
            self.drop()
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(30)
        self._process = None


@contextmanager
def server(folder, home, **options):
    """A server that runs; nothing of it runs afterwards."""
    it = Server(folder, home, **options)
    it.start()
    try:
        yield it
    finally:
        it.stop(rudely=True)
