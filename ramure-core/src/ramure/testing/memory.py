"""Machines that live in memory: no process, no disk, no network; for tests of programs.

    box = MemoryMachine(MemoryImage(files={"notes.txt": "hello"}))

    @box.command("git")
    async def git(call: Call) -> str:
        return "nothing to commit"

A whole program runs on them with ``host="memory"`` (or ``"memory://any-name"``, for pools) while
``installed(memory=ramure.testing.memory)`` holds, or with the pytest plugin's fixture
``memory_host``. There is no shell: a command is an async function, found by the command's whole
text or by its program's name. ``cat``, ``echo``, ``false``, ``pwd``, ``sleep`` and ``true`` are
built in.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from ramure._archive import pack, unpack
from ramure._disk import fill_folder, replace_file
from ramure._exec import check_command, readable
from ramure._files import absolute, not_copied, too_large
from ramure._work import in_thread
from ramure.errors import MachineGone, MachineStartFailed, PlacementError
from ramure.hookspecs import CONTRACT, BackendInfo, TransportInfo, hookimpl
from ramure.machine import MAX_OUTPUT, Backend, Command, Image, LocalPath, Machine
from ramure.testing._memory_commands import BUILT_IN, needs_a_shell, words_of
from ramure.testing._memory_files import File, Files, Folder
from ramure.testing._memory_process import Call, MemoryProcess, Pipes, Play
from ramure.toolset import ToolSet
from ramure.transport import Route, Target, Transport
from ramure.transports.direct import DirectRoute
from ramure.values import Host, MachineRef, PtySize

__all__ = ["Call", "MemoryBackend", "MemoryImage", "MemoryMachine", "MemoryTransport", "Play"]

RAMURE_CONTRACT = CONTRACT
NAME = "memory"
POOL = "files"

P = TypeVar("P", bound=Play)


@dataclass(frozen=True, slots=True)
class MemoryImage(Image):
    """What machines in memory start with.

    Attributes:
        files: by path (relative ones under ``workdir``): content.
        commands: the functions that play commands, by a command's whole text or its program's name;
            ``"*"`` plays all others.
        workdir: where commands run.
        users: as whom commands may be run.
        takes: seconds that making a machine takes; meanwhile it is found as half made.
    """

    backend: ClassVar[str] = NAME

    files: Mapping[str, bytes | str] = field(default_factory=dict, hash=False)
    commands: Mapping[str, Play] = field(default_factory=dict, hash=False)
    workdir: str = "/work"
    users: frozenset[str] = frozenset()
    takes: float = 0.0


class _Memory:
    """What there is of a machine, whoever has attached to it."""

    def __init__(
        self, image: MemoryImage, name: str, host: Host, labels: Mapping[str, str]
    ) -> None:
        self.image, self.name, self.host, self.labels = image, name, host, dict(labels)
        self.files = Files()
        self.commands = {**BUILT_IN, **image.commands}
        self.calls: list[str] = []
        self.errors: list[Exception] = []
        self.running: set[MemoryProcess] = set()
        self.gone = False
        self.state_dir = f"/run/ramure/{name}"
        self.files.make_folder(image.workdir)
        self.files.make_folder(self.state_dir, 0o700)
        for path, content in image.files.items():
            data = content.encode() if isinstance(content, str) else content
            self.files.write(posixpath.join(image.workdir, path), File(data))

    @property
    def ref(self) -> MachineRef:
        return MachineRef(NAME, self.name, {"host": str(self.host)})


_machines: dict[tuple[str, str], _Memory] = {}
"""All that there are in this program, by host and name."""


class MemoryMachine(Machine):
    """A machine in memory. Made by itself, it belongs to no run and no backend.

    Attributes:
        files: what is on it.
        calls: every command that was run, as people would type it.
        errors: what functions raised that played commands; the command's exit code was 1 then.
    """

    transports = (NAME,)

    def __init__(
        self,
        image: MemoryImage | None = None,
        *,
        name: str = "memory",
        memory: _Memory | None = None,
    ) -> None:
        """``memory`` is what a backend knows of it, instead of the others."""
        self._memory = memory = memory or _Memory(image or MemoryImage(), name, Host(NAME), {})
        self.name, self.ref = memory.name, memory.ref
        self.workdir, self.state_dir = memory.image.workdir, memory.state_dir
        self.files, self.calls, self.errors = memory.files, memory.calls, memory.errors

    def command(self, command: str) -> Callable[[P], P]:
        """Decorator: the function plays this program, or this whole text; ``"*"``: all others."""

        def register(play: P) -> P:
            self._memory.commands[command] = play
            return play

        return register

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> MemoryProcess:
        """See ``Machine.open_process``."""
        check_command(command, env)
        await checkpoint()
        self._check_there()
        where = absolute(self, cwd) if cwd is not None else self.workdir
        if not isinstance(self.files.follow(where), Folder):
            raise FileNotFoundError(2, "No such file or directory", where)
        if user is not None and user not in self._memory.image.users:
            raise PermissionError(f"machine {self.name!r} has no user {user!r}")
        play, words = self._find(command)
        self.calls.append(readable(command))
        pipes = Pipes()
        ends = pipes.stdin.receives, pipes.stdout.sends, pipes.stderr.sends
        call = Call(self, words, where, dict(env or {}), user, pty, *ends)
        process = MemoryProcess(play, call, pipes, self.errors)
        self._memory.running.add(process)
        process.on_end(partial(self._memory.running.discard, process))
        return process

    def _find(self, command: Command) -> tuple[Play, tuple[str, ...]]:
        """The function that plays a command, and the words it gets.

        Raises:
            FileNotFoundError: there is none for the program of a list.
        """
        known = self._memory.commands
        text = readable(command)
        words = words_of(command) if isinstance(command, str) else tuple(command)
        program = words[0] if words else ""
        play = known.get(text) or known.get(program) or known.get("*")
        if play is None and not isinstance(command, str):
            raise FileNotFoundError(2, f"machine {self.name!r} has no function for it", program)
        return play or needs_a_shell, words or (text,)

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT) -> bytes:
        """See ``Machine.read_file``."""
        await self._enter()
        file = self.files.read(absolute(self, path))
        if len(file.data) > max_bytes:
            raise too_large(path, max_bytes)
        return file.data

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """See ``Machine.write_file``."""
        await self._enter()
        content = data.encode() if isinstance(data, str) else bytes(data)
        file = File(content) if mode is None else File(content, mode)
        self.files.write(absolute(self, path), file)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        await self._enter()
        source, target = Path(local), absolute(self, remote)
        content, mode, is_folder = await in_thread(partial(_take, source), pool=POOL)
        if is_folder:
            self.files.unpack(target, content, mode)
        else:
            self.files.write(target, File(content, mode))

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        await self._enter()
        source, target = absolute(self, remote), Path(local)
        node = self.files.follow(source)
        if isinstance(node, Folder):
            fill = partial(unpack, io.BytesIO(self.files.pack(source)))
            await in_thread(partial(fill_folder, target, node.mode, fill), pool=POOL)
        else:
            file = self.files.read(source)
            content = io.BytesIO(file.data)
            await in_thread(partial(replace_file, target, content, file.mode), pool=POOL)

    async def destroy(self) -> None:
        """End what runs and forget all."""
        self._memory.gone = True
        _machines.pop((str(self._memory.host), self.name), None)
        for process in list(self._memory.running):
            await process.kill()

    async def _enter(self) -> None:
        await checkpoint()
        self._check_there()

    def _check_there(self) -> None:
        if self._memory.gone:
            raise MachineGone("it has been destroyed", machine=self.name)


def _take(path: Path) -> tuple[bytes, int, bool]:
    """A file's content or a folder's as an archive, the mode, and whether it is a folder."""
    mode = path.stat().st_mode & 0o777
    if path.is_dir():
        archive = io.BytesIO()
        pack(path, archive)
        return archive.getvalue(), mode, True
    if not path.is_file():
        raise not_copied(str(path))
    return path.read_bytes(), mode, False


class MemoryBackend(Backend):
    """Makes machines in memory. All backends of a program see the same; no other program does."""

    name = NAME
    image_type = MemoryImage
    here = True

    def read_image(self, text: str | None) -> MemoryImage:
        """Only the default: what is to be on the machine is said by a ``MemoryImage``."""
        if text is not None:
            raise PlacementError(f"image={text!r}: a machine in memory starts from a MemoryImage")
        return MemoryImage()

    def check_host(self, host: Host) -> None:
        """``memory``, or ``memory://any-name``."""
        if host.variant:
            raise PlacementError(f"host={str(host)!r}: {NAME!r} has no variants")

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> MemoryMachine:
        """See ``Backend.provision``."""
        self.check_host(host)
        if not isinstance(image, MemoryImage):
            raise PlacementError(f"machines in memory are made of MemoryImage, not of {image!r}")
        key = (str(host), name)
        if key in _machines:
            raise MachineStartFailed("there is one of this name", machine=name)
        _machines[key] = memory = _Memory(image, name, host, labels)
        try:
            await anyio.sleep(image.takes)
        except BaseException:
            _machines.pop(key, None)
            raise
        return MemoryMachine(memory=memory)

    async def attach(self, ref: MachineRef) -> MemoryMachine:
        """See ``Backend.attach``."""
        return MemoryMachine(memory=_there(ref))

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        on_host = (memory for memory in _machines.values() if memory.host == host)
        return [memory.ref for memory in on_host if labels.items() <= memory.labels.items()]

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        try:
            machine = MemoryMachine(memory=_there(ref))
        except MachineGone:
            return
        await machine.destroy()


def _there(ref: MachineRef) -> _Memory:
    memory = _machines.get((str(ref.data["host"]), ref.name))
    if memory is None:
        raise MachineGone("it is not there any more", machine=ref.name)
    return memory


class MemoryTransport(Transport):
    """Agents of machines in memory live in the program: the run's own socket is in their reach."""

    name = NAME

    async def open(self, machine: Machine, target: Target) -> Route:
        """Give the run's own unix socket."""
        return DirectRoute(f"unix:{target.socket}")


@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """This one."""
    yield BackendInfo(
        NAME,
        "machines in memory, for tests",
        load=f"{__name__}:MemoryBackend",
        image=f"{__name__}:MemoryImage",
    )


@hookimpl
def ramure_register_transports() -> Iterable[TransportInfo]:
    """The one that its machines name."""
    yield TransportInfo(NAME, "into memory, for tests", f"{__name__}:MemoryTransport")
