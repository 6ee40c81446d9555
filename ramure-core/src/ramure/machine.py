"""The contract of machines: ``Image``, ``Machine``, ``Process`` and ``Backend``.

A backend author writes the abstract methods; everything else is written once, here, on top of
``open_process``, and may be overridden where a backend knows a faster way. What each method
promises is what ``ramure.testing`` checks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from types import MappingProxyType
from typing import ClassVar, Protocol, Self, runtime_checkable

from anyio.abc import ByteReceiveStream, ByteSendStream

from ramure import _exec, _files
from ramure._equip import Equipment, platform_of
from ramure.toolset import Platform, Progress, ToolSet, tell
from ramure.values import ExecResult, Host, MachineRef, PtySize

Command = str | Sequence[str]
LocalPath = str | PathLike[str]

MAX_OUTPUT = 50_000_000
"""Bytes that ``exec`` keeps of each output stream unless told otherwise."""


class Image(ABC):
    """What a machine starts from: a value that does nothing by itself.

    Subclasses are frozen dataclasses. ``backend`` names the backend that reads them.
    """

    backend: ClassVar[str]


class Process(ABC):
    """A command that runs on a machine.

    Not safe for two readers of one stream at a time. Leaving ``async with`` (or ``aclose``) kills
    what still runs.

    Attributes:
        stdin: what the command reads; closing it is the end of its input.
        stdout: what the command writes; for a pty, everything.
        stderr: its errors; for a pty, at its end from the start.
    """

    stdin: ByteSendStream
    stdout: ByteReceiveStream
    stderr: ByteReceiveStream

    @abstractmethod
    async def wait(self) -> int:
        """Wait for the command's own end; give its exit code, or -N where signal N ended it.

        Does not wait for children that still hold the pipes. May be called several times.

        Raises:
            LinkBroken: the way to the machine broke; ``outcome_unknown`` says what that means.
            MachineGone: the machine went away.
        """

    @abstractmethod
    async def signal(self, number: int) -> None:
        """Send a signal to the command's process group. Nothing happens after its end."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill the *whole tree*: the command and all it started, ``setsid`` children too."""

    @abstractmethod
    async def resize(self, size: PtySize) -> None:
        """Tell the pty its new size. Nothing happens where there is no pty."""

    @abstractmethod
    async def aclose(self) -> None:
        """Kill what still runs and let go of the streams. Idempotent, bounded, shielded.

        A command that runs is killed with its whole tree; what a command that has ended by itself
        left running lives on.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Machine(ABC):
    """A running environment: it runs commands and holds files.

    Attributes:
        name: what people are shown.
        ref: enough for another OS process to attach to this machine or to destroy it.
        workdir: where commands run unless told otherwise; absolute, on the machine.
        state_dir: a folder on the machine for this run, owner-only, removed by ``destroy``.
        transports: names of the transports that reach the run from here, best first.
        here: True where this is the computer (and the user) the program runs on.
        tools_dir: a folder there for tool sets, absolute, that outlives the run (in the user's
            home, say), so that they are brought once; made when needed. None: ``state_dir/tools``.
        mounted_tools: folders with the tool sets that the backend has made part of the machine, by
            the sets' names.
    """

    name: str
    ref: MachineRef
    workdir: str
    state_dir: str
    transports: tuple[str, ...]
    here: bool = False
    tools_dir: str | None = None
    mounted_tools: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> Process:
        """Start a command and give its streams.

        Args:
            command: a list is run as it is, never parsed by a shell; a string is run by
                ``bash -c`` where there is a bash, else by ``sh -c``.
            cwd: where to run; relative paths are under ``workdir``.
            env: added to the machine's environment. Never shown on a command line.
            user: run as this user; None for the machine's own.
            pty: run in a terminal of this size.

        Raises:
            FileNotFoundError: ``cwd``, or the program of a list, is not there.
            PermissionError: the program may not be run, or the user may not be changed.
            MachineGone, LinkBroken: as their names say.
        """

    @abstractmethod
    async def destroy(self) -> None:
        """Remove the machine and all that is left of it. Idempotent; bounded; never half."""

    async def exec(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        input: bytes | str | None = None,  # noqa: A002 the name that subprocess has for it
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        check: bool = False,
        max_output: int = MAX_OUTPUT,
    ) -> ExecResult:
        """Run a command to its end.

        On time-out and on cancellation its whole process tree is killed, ``setsid`` children too.
        A normal return kills nothing and does not wait for children that hold the pipes: output
        is read until 0.1 s pass without any, 1 s at most.

        Args:
            command: a list is run as it is; a string is run by a shell.
            timeout: seconds; the result is then ``timed_out``, with the output until then.
            input: what the command may read; its standard input is closed after it.
            cwd: where to run; relative paths are under ``workdir``.
            env: added to the machine's environment. Never shown on a command line.
            user: run as this user; None for the machine's own.
            check: raise where the exit code is not 0.
            max_output: bytes kept of each output stream; what is beyond is thrown away.

        Raises:
            UsageError: an argument that cannot work; nothing was started.
            CommandFailed: with ``check``; holds the result.
            FileNotFoundError, PermissionError, MachineGone, LinkBroken: as ``open_process``.
        """
        result = await _exec.execute(
            self,
            command,
            timeout=timeout,
            data=input,
            cwd=cwd,
            env=env,
            user=user,
            max_output=max_output,
        )
        if check and not result.ok:
            raise _exec.failed(result, timeout, self.name)
        return result

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT) -> bytes:
        """The content of a file of at most ``max_bytes``.

        Paths are the machine's, relative ones under ``workdir``; ``~`` is not expanded.

        Raises:
            FileNotFoundError, PermissionError, IsADirectoryError: as their names say.
            OSError: with ``errno.EFBIG``: the file is larger; ``download`` takes any size.
        """
        return await _files.read(self, path, max_bytes)

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """Put ``data`` into a file, whole or not at all, and make the folders it needs.

        Text is written as UTF-8. ``mode`` None: by the umask, whatever the file had before; given,
        nobody else can read the file before it is set. A link at ``path`` is replaced and not
        followed.

        Raises:
            PermissionError, IsADirectoryError, OSError: as their names say.
        """
        content = data.encode() if isinstance(data, str) else data
        await _files.write(self, path, content, mode)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """Copy a file or a folder of any size to the machine.

        ``remote`` is the path that results, never a folder to put it into. A file is there whole or
        not at all. A folder that is there already keeps what else it holds; after an error it may
        be half filled. Permissions and links are kept; sockets, pipes and devices are left out.

        Raises:
            FileNotFoundError, PermissionError, IsADirectoryError, OSError: on either side.
            MachineError: the machine's ``tar`` failed; the message has its words.
        """
        from ramure import _transfer

        await _transfer.upload(self, local, remote)

    async def download(self, remote: str, local: LocalPath) -> None:
        """Copy a file or a folder of any size from the machine; as ``upload``, the other way.

        Raises:
            UnsafePath: the machine sent a name or a link that leaves the folder, or something that
                is neither file, folder nor link. Nothing outside has been touched.
            FileNotFoundError, PermissionError, IsADirectoryError, OSError: on either side.
            MachineError: the machine's ``tar`` failed; the message has its words.
        """
        from ramure import _transfer

        await _transfer.download(self, remote, local)

    async def platform(self) -> Platform:
        """System, architecture and C library, as the machine says.

        Raises:
            MachineError: it could not be asked.
        """
        return await platform_of(self)

    async def equip(self, tools: ToolSet, progress: Progress = tell) -> None:
        """See that agents can be started with these tools; the run calls it before the first one.

        What the backend has mounted serves; else what is on the machine already; else the set is
        assembled and uploaded to ``tools_dir``, once. Idempotent; callers at the same time share
        one, and so do runs. Cancelled in the middle, it removes what it had brought.

        Args:
            tools: what the agents' harness needs.
            progress: is told what goes on where it takes a while.

        Raises:
            ToolSetUnavailable: the set cannot be had for such a machine, which lacks it.
            MachineError, OSError: it could not be brought.
        """
        await self._equipment.equip(tools, progress)

    def tool_folder(self, tools: ToolSet) -> str | None:
        """Where the set is on the machine; None before ``equip``, and where it is not needed."""
        return self._equipment.folder(tools)

    @cached_property
    def _equipment(self) -> Equipment:
        return Equipment(self)


@runtime_checkable
class DialsSockets(Protocol):
    """An ability: a machine that leads to unix sockets on it without a command for each."""

    async def dial(self, path: str, *, patient: bool) -> Process:
        """A connection to a socket of the machine's own user, as ``stdin`` and ``stdout``.

        Args:
            path: the socket, absolute, on the machine.
            patient: wait a moment where nobody listens yet.

        Raises:
            OSError: it cannot be dialled, or not in this way.
            MachineError: as ``open_process``.
        """


@runtime_checkable
class KeepsDeadlines(Protocol):
    """An ability: a machine that ends a command when it is due, though nobody can reach it.

    ``exec`` with a ``timeout`` starts commands so.
    """

    async def open_due(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
        due: float | None = None,
    ) -> Process:
        """As ``Machine.open_process``; killed ``due`` seconds after its start, or soon after."""


class Backend(ABC):
    """Turns (image, host) into machines. One object serves one run.

    Attributes:
        name: as in ``host="name"``.
        image_type: the class of its images.
        here: True where its machines end with this computer, so that a power loss leaves none.
    """

    name: ClassVar[str]
    image_type: ClassVar[type[Image]]
    here: ClassVar[bool] = False

    @abstractmethod
    def read_image(self, text: str | None) -> Image:
        """What ``image="text"`` means here; None is the backend's default image.

        Raises:
            PlacementError: it means nothing here.
        """

    def check_host(self, host: Host) -> None:
        """Accept ``host`` or raise ``PlacementError``. By default only a bare name will do."""
        from ramure.errors import PlacementError

        if host.variant or host.location is not None:
            raise PlacementError(f"host={str(host)!r}: {self.name!r} takes no address")

    def adopt_host(self, host: Host) -> Host | None:
        """A host of *another* backend on which this one's images can work, as this backend's own.

        ``image="docker:python:3.12", host="ssh://me@box"`` asks the Docker backend, which answers
        ``docker+ssh://me@box``. None: it cannot be done.
        """
        return None

    @abstractmethod
    async def provision(
        self,
        image: Image,
        host: Host,
        *,
        name: str,
        labels: Mapping[str, str],
        tools: ToolSet | None = None,
    ) -> Machine:
        """Make a machine.

        ``name`` is decided and recorded by the run before this is called; what is made carries it
        and all ``labels`` (``ramure.run``, ``ramure.owner``, …) from its first moment. Cancelled in
        the middle, it removes what it had made.

        ``tools`` is given where the machine is made for an agent. A backend that can make a tool
        set part of a machine (a read-only volume, layers of the image) does so, and says where in
        ``mounted_tools``; where the set cannot be had (``ToolSetUnavailable``), it makes the
        machine without: all that is needed may be there. Other backends ignore it:
        ``Machine.equip`` brings the set.

        Raises:
            MachineStartFailed: it could not be made; the message says why and what to do.
        """

    @abstractmethod
    async def attach(self, ref: MachineRef) -> Machine:
        """A machine that is already there. Raises ``MachineGone`` where it is not."""

    @abstractmethod
    async def find(self, labels: Mapping[str, str], *, host: Host) -> list[MachineRef]:
        """Every machine on ``host`` that carries all these labels, half-made ones too."""

    @abstractmethod
    async def destroy(self, ref: MachineRef) -> None:
        """Remove a machine by its reference. Nothing happens where it is gone already."""

    async def remove_caches(self, host: Host, *, dry_run: bool = False) -> list[str]:
        """Remove what is kept on ``host`` for later machines and not in use: volumes of tool sets.

        ``ramure gc --images`` asks for it. Gives the names of what was removed, or would be with
        ``dry_run``. By default nothing is kept.
        """
        return []

    async def aclose(self) -> None:
        """Let go of kept connections. The machines live on."""
