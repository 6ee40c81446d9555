"""The sandbox itself: how bubblewrap is called, and where it is found again."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ramure.backends.local import LocalMachine
from ramure.errors import MachineGone, MachineStartFailed
from ramure.machine import Process
from ramure_bubblewrap.image import BubblewrapImage

WORK, STATE = "/work", "/run/ramure"
"""Where the working directory and the machine's state are in every sandbox."""

CLEAN = 'exec env -i "RAMURE_MARKS=$RAMURE_MARKS" "PATH=$PATH" "$@" 3>&1'
"""The environment of the program is not the sandbox's; by the marks ramure finds all it started."""

UP = b"up\n"
INIT = "echo up; cat >/dev/null"
"""The sandbox's first process. Its input ends with the program, and with it ends everything."""

FOLDERS = ("bin", "lib", "lib32", "lib64", "sbin")
FILES = (
    *("alternatives", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime"),
    *("nsswitch.conf", "passwd", "resolv.conf", "ssl"),
)
"""Of ``/etc``, what programs need and everybody may read."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that runs.

    Attributes:
        pid: of its first process, as this computer counts.
        namespace: of processes; tells it from whatever may have its ``pid`` later.
    """

    pid: int
    namespace: int

    def keep(self, machine: LocalMachine) -> None:
        """Write down where it is, for other programs: where nobody in the sandbox can write."""
        Path(machine.state_dir, "sandbox.json").write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def kept(cls, machine: LocalMachine) -> Sandbox:
        """The sandbox of a machine.

        Raises:
            MachineGone: it has none any more.
        """
        try:
            return cls(**json.loads(Path(machine.state_dir, "sandbox.json").read_text("utf-8")))
        except (OSError, ValueError):
            raise MachineGone("its sandbox is not there", machine=machine.name) from None


# --8<-- [start:command]
def command(image: BubblewrapImage, machine: LocalMachine) -> list[str]:
    """How ``image`` is asked for. What is the sandbox's own is in folders of ``machine``'s."""
    own = Path(machine.state_dir)
    me = pwd.getpwuid(os.getuid())
    return [
        *("bwrap", "--unshare-all", "--unshare-user", "--as-pid-1", "--die-with-parent"),
        *("--uid", str(me.pw_uid), "--gid", str(me.pw_gid), "--hostname", "sandbox"),
        *(["--share-net"] if image.network else []),
        *("--info-fd", "3"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", me.pw_dir),  # noqa: S108
        *_programs(),
        *(word for path in image.readable for word in ("--ro-bind", str(path), str(path))),
        *("--bind", str(own / "state"), STATE),
        *("--bind", str(image.workdir or own / "work"), WORK),
        *("--", "sh", "-c", INIT),
    ]


# --8<-- [end:command]


def _programs() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():  # such as /bin, which is usr/bin
            yield from ("--symlink", str(folder.readlink()), str(folder))
        else:
            yield from ("--ro-bind-try", str(folder), str(folder))
    for name in FILES:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


async def begin(image: BubblewrapImage, machine: LocalMachine) -> tuple[Process, Sandbox]:
    """Start a sandbox: the process that holds it, and where it is.

    It lives as long as this program, and no longer than ``machine``.

    Raises:
        MachineStartFailed: bubblewrap says why.
    """
    for name in ("state", "work"):
        os.mkdir(f"{machine.state_dir}/{name}", 0o700)  # noqa: PTH102 quick enough for the loop
    try:
        process = await machine.open_process(["sh", "-c", CLEAN, "sh", *command(image, machine)])
    except FileNotFoundError as error:
        raise MachineStartFailed(str(error), machine=machine.name) from error
    try:
        return process, await _found(process, machine)
    except BaseException:
        await process.aclose()
        raise


async def _found(process: Process, machine: LocalMachine) -> Sandbox:
    """What bubblewrap says of its sandbox, once this is up."""
    said = b""
    async for piece in process.stdout:
        said += piece
        if said.endswith(UP):
            about = json.loads(said.removesuffix(UP))
            return Sandbox(about["child-pid"], about["pid-namespace"])
    words = b"".join([piece async for piece in process.stderr]).decode("utf-8", "replace").strip()
    cure = "is bubblewrap installed? `ramure doctor bubblewrap` says more"
    raise MachineStartFailed(f"{words} ({cure})", machine=machine.name)
