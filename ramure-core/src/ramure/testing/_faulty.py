"""Machines and backends whose every await is one of ``ramure.testing.faults``' operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from anyio.abc import ByteReceiveStream, ByteSendStream

from ramure.errors import MachineError
from ramure.machine import MAX_OUTPUT, Backend, Command, Image, LocalPath, Machine, Process
from ramure.plugins import Plugins, resolve
from ramure.testing._faults import Faults
from ramure.toolset import Progress, ToolSet, tell
from ramure.values import Host, MachineRef, PtySize

if TYPE_CHECKING:
    from ramure.hookspecs import BackendInfo

_Around = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]


class _Receiving(ByteReceiveStream):
    def __init__(self, stream: ByteReceiveStream, around: _Around) -> None:
        self._stream, self._around = stream, around

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data: bytes = await self._around("receive", partial(self._stream.receive, max_bytes))
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Sending(ByteSendStream):
    def __init__(self, stream: ByteSendStream, around: _Around) -> None:
        self._stream, self._around = stream, around

    async def send(self, item: bytes) -> None:
        await self._around("send", partial(self._stream.send, item))

    async def aclose(self) -> None:
        await self._stream.aclose()


class FaultyProcess(Process):
    """A process of a faulty machine. A stream that breaks is ``wait``'s to report, too."""

    def __init__(self, process: Process, faults: Faults) -> None:
        self._process, self._faults = process, faults
        self._broken: MachineError | None = None
        self.stdin = _Sending(process.stdin, self._stream)
        self.stdout = _Receiving(process.stdout, self._stream)
        self.stderr = _Receiving(process.stderr, self._stream)

    async def _stream(self, kind: str, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._faults.around(kind, work)
        except MachineError as error:
            self._broken = error
            raise

    async def wait(self) -> int:
        """See ``Process.wait``."""
        code = await self._faults.around("wait", self._process.wait)
        if self._broken is not None:
            raise self._broken
        return code

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        await self._faults.around("signal", partial(self._process.signal, number))

    async def kill(self) -> None:
        """See ``Process.kill``."""
        await self._faults.around("kill", self._process.kill)

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``."""
        await self._faults.around("resize", partial(self._process.resize, size))

    async def aclose(self) -> None:
        """See ``Process.aclose``. Whatever goes wrong, the process is let go of."""
        try:
            await self._faults.around("aclose", self._process.aclose)
        finally:
            await self._process.aclose()


class FaultyMachine(Machine):
    """Any machine, with faults.

    ``exec`` is the contract's own over ``open_process``, so that each of its awaits is harmed;
    other conveniences are the machine's, and one operation each. What else it can do passes.
    """

    def __init__(self, machine: Machine, faults: Faults) -> None:
        self._machine, self._faults = machine, faults
        self.name, self.ref = machine.name, machine.ref
        self.workdir, self.state_dir = machine.workdir, machine.state_dir
        self.transports, self.here = machine.transports, machine.here
        self.tools_dir, self.mounted_tools = machine.tools_dir, machine.mounted_tools

    def __getattr__(self, name: str) -> Any:
        """An ability that not every machine has."""
        return getattr(self._machine, name)

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """See ``Machine.open_process``."""
        opens = partial(self._machine.open_process, command, cwd=cwd, env=env, user=user, pty=pty)
        process = await self._faults.around("open_process", opens, undo=_aclose)
        return FaultyProcess(process, self._faults)

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT) -> bytes:
        """See ``Machine.read_file``."""
        read = partial(self._machine.read_file, path, max_bytes=max_bytes)
        return await self._faults.around("read_file", read)

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """See ``Machine.write_file``."""
        write = partial(self._machine.write_file, path, data, mode=mode)
        await self._faults.around("write_file", write)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        await self._faults.around("upload", partial(self._machine.upload, local, remote))

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        await self._faults.around("download", partial(self._machine.download, remote, local))

    async def equip(self, tools: ToolSet, progress: Progress = tell) -> None:
        """See ``Machine.equip``."""
        await self._faults.around("equip", partial(self._machine.equip, tools, progress))

    def tool_folder(self, tools: ToolSet) -> str | None:
        """See ``Machine.tool_folder``."""
        return self._machine.tool_folder(tools)

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        await self._faults.around("destroy", self._machine.destroy)


class FaultyBackend(Backend):
    """Any backend, with faults, and so are its machines."""

    def __init__(self, backend: Backend, faults: Faults) -> None:
        self._backend, self._faults = backend, faults
        # Class attributes of a backend's own class elsewhere: this one stands for any.
        self.name = backend.name  # type: ignore[misc]
        self.image_type = backend.image_type  # type: ignore[misc]
        self.here = backend.here  # type: ignore[misc]

    def read_image(self, text: str | None) -> Image:
        """See ``Backend.read_image``."""
        return self._backend.read_image(text)

    def check_host(self, host: Host) -> None:
        """See ``Backend.check_host``."""
        self._backend.check_host(host)

    def adopt_host(self, host: Host) -> Host | None:
        """See ``Backend.adopt_host``."""
        return self._backend.adopt_host(host)

    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> Machine:
        """See ``Backend.provision``."""
        make = partial(self._backend.provision, image, host, name=name, labels=labels, tools=tools)
        machine = await self._faults.around("provision", make, undo=_destroy)
        return FaultyMachine(machine, self._faults)

    async def attach(self, ref: MachineRef) -> Machine:
        """See ``Backend.attach``."""
        machine = await self._faults.around("attach", partial(self._backend.attach, ref))
        return FaultyMachine(machine, self._faults)

    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """See ``Backend.find``."""
        find = partial(self._backend.find, labels, host=host)
        return await self._faults.around("find", find)

    async def destroy(self, ref: MachineRef) -> None:
        """See ``Backend.destroy``."""
        await self._faults.around("remove", partial(self._backend.destroy, ref))

    async def remove_caches(self, host: Host, *, dry_run: bool = False) -> list[str]:
        """See ``Backend.remove_caches``."""
        return await self._backend.remove_caches(host, dry_run=dry_run)

    async def aclose(self) -> None:
        """See ``Backend.aclose``."""
        await self._backend.aclose()


async def _aclose(process: Process) -> None:
    await process.aclose()


async def _destroy(machine: Machine) -> None:
    await machine.destroy()


# --- in the place of an installed one

_factories: dict[str, Callable[[], Backend]] = {}
_numbers = count()


def __getattr__(name: str) -> Callable[[], Backend]:
    """What ``BackendInfo.load`` names for as long as ``faulty`` holds."""
    try:
        return _factories[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


class _Harmed(Plugins):
    """All plugins, one of whose backends is faulty."""

    def __init__(self, plugins: Plugins, backend: str, load: str) -> None:
        self.__dict__.update(vars(plugins))
        self._harmed, self._load = backend, load

    def backend(self, name: str) -> BackendInfo:
        """See ``Plugins.backend``."""
        info = super().backend(name)
        return replace(info, load=self._load) if name == self._harmed else info


@contextmanager
def faulty(backend: str, faults: Faults) -> Iterator[None]:
    """Have all runs that start meanwhile use this backend with faults; programs stay as they are.

    A run's keeper, which is another program, uses the backend as it is.
    """
    plugins = Plugins.load()
    load = plugins.backend(backend).load
    name = f"faulty_{next(_numbers)}"
    _factories[name] = lambda: FaultyBackend(resolve(load)(), faults)
    harmed = _Harmed(plugins, backend, f"{__name__}:{name}")
    try:
        with patch.object(Plugins, "load", lambda: harmed):
            yield
    finally:
        del _factories[name]
