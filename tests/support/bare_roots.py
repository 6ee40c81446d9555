"""Machines with a root of their own that holds busybox and nothing else: no libraries, no Node.js.

A module that is a plugin, too: ``Plugins.of(root=bare_roots)`` has the backend ``root``. Everything
but files is this computer's: processes, network, devices.
"""

import os
import shutil
import subprocess
from pathlib import Path

import parts
from far_machines import FarBackend, FarImage, PlainMachine
from ramure import hookimpl
from ramure.hookspecs import BackendInfo
from ramure.relay import RelayedMachine
from ramure.values import Host

# $1 root, $2 what is mounted read-only at /opt/tools, or nothing, $3 "no": /dev/shm is read-only,
# $4 cwd, then the command. A mount namespace of its own: nothing stays mounted.
ENTER = """
for made in proc dev sys; do mount --rbind "/$made" "$1/$made" || exit 70; done
if [ -n "$2" ]; then
  mount --bind "$2" "$1/opt/tools" && mount -o remount,bind,ro "$1/opt/tools" || exit 70
fi
if [ "$3" = no ]; then mount -o remount,bind,ro "$1/dev/shm" || exit 70; fi
root=$1; shift 3
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$@"
"""
FOLDERS = ["bin", "dev", "etc", "opt/tools", "proc", "root", "run", "sys", "tmp", "usr/bin", "work"]
UNSHARE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def need_roots():
    """Skip the test where such machines cannot be made; in CI it fails."""
    busybox = shutil.which("busybox")
    lacks = "" if busybox else "busybox (apt install busybox-static)"
    if busybox and subprocess.run([*UNSHARE, "true"], check=False).returncode:
        lacks = "the right to make mount namespaces"
    if lacks:
        parts.lacking(f"there is no {lacks}")


def make_root(root):
    """Fill a new folder with what such a machine has."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    busybox = root / "bin/busybox"
    shutil.copy(shutil.which("busybox"), busybox)
    for name in subprocess.check_output([busybox, "--list"], text=True).split():
        if name not in {"busybox", "bash"}:
            (root / "bin" / name).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("../../bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return root


class RootMachine(PlainMachine):
    """Commands run in the root."""

    def __init__(self, local, root):
        super().__init__(local)
        self.root = root
        self.mount = ""
        self.shared_memory = "yes"
        self.workdir, self.state_dir = "/work", "/run/ramure"

    async def open_process(self, command, *, cwd=None, env=None, user=None, pty=None):
        if isinstance(command, str):
            command = ["sh", "-c", command]
        where = os.path.join("/work", cwd or "")  # noqa: PTH118 a path in the root
        how = (str(self.root), self.mount, self.shared_memory, where)
        inside = [*UNSHARE, "sh", "-c", ENTER, "sh", *how, *command]
        own = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "TMPDIR": "/tmp",
            "LANG": "C",
        }
        foreign = dict.fromkeys(("RAMURE_PI", "RAMURE_HOME", "PI_CODING_AGENT_DIR"), "")
        return await super().open_process(
            inside, cwd="/", env={**foreign, **own, **(env or {})}, pty=pty
        )


class RootImage(FarImage):
    """What they start from."""

    backend = "root"


class RootBackend(FarBackend):
    """Makes such machines. ``made``: all so far; ``mounts``: tool sets become part of them.

    ``shared_memory``: ``yes``, or ``no``.
    """

    name = "root"
    image_type = RootImage
    made = []  # noqa: RUF012 for tests to look at
    mounts = False
    shared_memory = "yes"

    def read_image(self, text):
        return RootImage(self._local.read_image(text).workdir)

    async def provision(self, image, host, *, name, labels, tools=None):
        local = await self._local.provision(image, Host("local"), name=name, labels=labels)
        machine = RootMachine(local, make_root(Path(local.state_dir) / "root"))
        machine.shared_memory = self.shared_memory
        if self.mounts and tools is not None:
            machine.mount = str(await tools.assemble(await machine.platform()))
            machine.mounted_tools = {tools.name: "/opt/tools"}
        self.made.append(machine)
        return RelayedMachine(machine)


@hookimpl
def ramure_register_backends():
    return [BackendInfo("root", "bare", "bare_roots:RootBackend", "bare_roots:RootImage")]
