"""A command in a container: an exec of the engine's, whose connection we hold."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import cache, partial
from importlib.resources import files
from signal import Signals
from typing import TYPE_CHECKING, Any

import anyio
from anyio import BrokenResourceError, EndOfStream

from ramure._work import to_end
from ramure.backends._marks import kill_command
from ramure.errors import LinkBroken, MachineError
from ramure.machine import Process
from ramure.values import PtySize
from ramure_docker.fate import KILLED
from ramure_docker.streams import Ended, Streams

if TYPE_CHECKING:
    from ramure_docker.container import Container

HELLO = b"ramure "
LONGEST = 4096
"""Bytes of the line that a starting command says first, or of why it does not start."""

HEARD = b"\x04"
"""What a command in a terminal waits for after that line: Ctrl-D, which terminals do not show."""

SLOW = 2.0
"""Seconds that whoever gives up a command waits for an engine that does not answer."""

_SIGNALS = frozenset(int(number) for number in Signals)


@cache
def _script(name: str) -> str:
    return (files("ramure_docker") / "scripts" / name).read_text("utf-8")


def script(name: str, *arguments: str) -> list[str]:
    """The command that runs one of the package's scripts in a container."""
    return ["sh", "-c", _script(name), "ramure", *arguments]


class DockerProcess(Process):
    """A command that an engine runs for as long as we hold its connection, and longer."""

    def __init__(
        self, container: Container, exec_id: str, streams: Streams, *, mark: str, user: str | None
    ) -> None:
        self._container = container
        self._id = exec_id
        self._streams = streams
        self._mark, self._user = mark, user
        self._pid = ""
        self._asking = anyio.Lock()
        self._exit: int | None = None
        self._killing = False
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr

    async def begun(self, program: str) -> None:
        """Wait until the command runs.

        Raises:
            OSError: it cannot: FileNotFoundError, PermissionError, NotADirectoryError.
            MachineError: the engine says why it cannot.
        """
        line = await self._first_line()
        if not line.startswith(HELLO):
            raise await self._refused(line.decode("utf-8", "replace"))
        word, _, what = line.removeprefix(HELLO).decode("utf-8", "replace").partition(" ")
        if not word.isdigit():
            number = getattr(errno, word, errno.EIO)
            raise OSError(number, os.strerror(number), what or program)
        self._pid = word

    async def heard(self) -> None:
        """Let the command go on, in a terminal, now that its first line has been read."""
        with suppress(BrokenResourceError):  # `wait` tells
            await self.stdin.send(HEARD)

    async def _first_line(self) -> bytes:
        line = b""
        with suppress(EndOfStream, BrokenResourceError):
            while b"\n" not in line and len(line) < LONGEST:
                line += await self._streams.stdout.receive()
        line, _, rest = line.partition(b"\n")
        self._streams.stdout.push_back(rest)
        return line.rstrip(b"\r")

    async def _refused(self, words: str) -> OSError | MachineError:
        """What the engine says where it could not even start our script."""
        if not words:
            await self._container.check()
            return self._lost()
        if "unable to find user" in words or "no matching entries in" in words:
            return PermissionError(errno.EPERM, f"the container has no such user ({words})")
        if "executable file not found" in words or "no such file or directory" in words:
            words = f"there is no `sh` in the container, which ramure needs ({words})"
        return MachineError(words, machine=self._container.name)

    def _lost(self) -> LinkBroken:
        return LinkBroken(
            "the connection to the engine broke", machine=self._container.name, outcome_unknown=True
        )

    # --- its end

    async def wait(self) -> int:
        """See ``Process.wait``. The engine waits 2 s for children that hold the pipes."""
        while self._exit is None:
            await self._streams.finished()
            async with self._asking:
                if self._exit is None:
                    self._exit = await self._exit_code()
        return self._exit

    async def _exit_code(self) -> int:
        said = await self._inspect()
        code = said.get("ExitCode")
        if said.get("Running") or code is None:
            await self._container.check()
            raise self._lost()
        if code == KILLED and not self._killing:  # it alone, or the container?
            await self._container.settled()
        return _signalled(int(code))

    async def _inspect(self) -> dict[str, Any]:
        self._container.check_fate()
        try:
            return await self._container.inspect_exec(self._id)
        except LinkBroken as error:
            error.outcome_unknown = True
            raise

    async def _runs(self) -> bool:
        return self._exit is None and bool((await self._inspect()).get("Running"))

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        if self._pid and await self._runs():
            words = ["sh", "-c", 'kill "-$1" "-$2"', "ramure", str(int(number)), self._pid]
            await self._container.say(words, user=self._user)

    async def kill(self) -> None:
        """See ``Process.kill``. Where the engine does not answer, it goes on alone."""
        self._killing = True
        await to_end(partial(self._end, always=True))

    async def _end(self, *, always: bool) -> None:
        """Kill what runs, or what is left; later, where the engine does not answer now."""
        runs = None
        with anyio.move_on_after(SLOW):
            runs = await self._runs()
        if runs is None:
            later = partial(self._end_later, always=always)
            self._container.chores.begin(later, f"ending a command in {self._container.name}")
        elif runs or always:
            await self._kill()

    async def _end_later(self, *, always: bool) -> None:
        while True:
            with suppress(LinkBroken):
                if always or await self._runs():
                    await self._kill()
                return
            await anyio.sleep(SLOW)

    async def _kill(self) -> None:
        self._killing = True
        words = kill_command(self._mark, self._pid if await self._runs() else "")
        if (await self._container.say(words, user=self._user)).startswith(b"left"):
            await self._container.say(words, user="0")
        self._streams.keep_all()
        await self.wait()

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``."""
        if isinstance(self.stderr, Ended) and not self._streams.over:
            with suppress(MachineError):  # it has ended meanwhile
                await self._container.resize_exec(self._id, size)

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            with suppress(MachineError):  # out of reach: its lease ends it
                if self._exit is None and not self._killing:
                    await to_end(partial(self._end, always=False))
        finally:
            await self.let_go()

    async def let_go(self) -> None:
        """Close the connection, whatever runs."""
        self._container.forget(self)
        await self._streams.aclose()

    def break_off(self, error: MachineError) -> None:
        """The container is gone or paused: nobody waits for the engine to say so."""
        self._streams.break_off(error)


def _signalled(code: int) -> int:
    """An exit code as ramure has it: the engine adds 128 to the signal that ended a command."""
    return 128 - code if code - 128 in _SIGNALS else code
