"""A command in a sandbox: an exec of the SDK's. Tasks of its own attend to its streams and end."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from signal import SIGKILL, Signals
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import EndOfStream

from ramure._work import to_end
from ramure.backends._marks import kill_command
from ramure.errors import LinkBroken, MachineError
from ramure.machine import Process
from ramure.values import PtySize
from ramure_modal.errors import transient
from ramure_modal.streams import Ended, Input, Output

if TYPE_CHECKING:
    from modal.container_process import ContainerProcess

    from ramure_modal.sandbox import SandboxMachine

HELLO = b"ramure "
LONGEST = 4096
"""Bytes of the line that a command says first."""

FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
"""Seconds between two attempts, beyond those that the SDK makes by itself."""

KILLING = 2.0
"""Seconds in which a kill has to be done, else the sandbox counts as out of reach for it."""

QUIET = 0.3
"""After a command's own end: seconds without output after which no more is awaited."""

OUTAGE = 120.0
"""Seconds out of reach after which a command's streams are given up."""

_SIGNALS = frozenset(int(number) for number in Signals)


class SandboxProcess(Process):
    """A command that runs in a sandbox.

    The SDK tells nobody whether signal N ended a command or it exited with 128 + N: both are taken
    for the signal.
    """

    def __init__(
        self, machine: SandboxMachine, process: ContainerProcess[bytes], mark: str, *, pty: bool
    ) -> None:
        self._machine = machine
        self._sdk = process
        self._mark = mark
        self._pid = ""
        self._terminal = ""
        self._ended = anyio.Event()
        self._exit: int | None = None
        self._failure: Callable[[], MachineError] | None = None
        self.stdin = self._input = Input()
        self.stdout = self._output = Output()
        self.stderr = Ended() if pty else Output()
        # A command lives from its start to `aclose`, whatever tasks call these. Its tasks are
        # cancelled once: the SDK leaves things behind where a scope of anyio's cancels it thrice.
        self._tasks = [
            asyncio.create_task(work, name=f"command in {machine.name}") for work in self._works()
        ]
        self._leaving = False
        machine.processes.add(self)

    # --- what goes on meanwhile

    def _works(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._carry(self._output.pump, self._sdk.stdout)
        if isinstance(self.stderr, Output):
            yield self._carry(self.stderr.pump, self._sdk.stderr)
        yield self._feed()
        yield self._watch()

    def _leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            for task in self._tasks:
                task.cancel()

    async def _carry(self, pump: Callable[..., Awaitable[None]], source: object) -> None:
        with suppress(MachineError):  # `wait` tells
            await pump(cast("AsyncIterable[bytes]", source), self._retry)

    async def _feed(self) -> None:
        with suppress(MachineError, ValueError, NobodyReads):
            stdin = self._sdk.stdin
            await self._input.pump(stdin, stdin.drain.aio, partial(self._retry, writing=True))

    async def _watch(self) -> None:
        async def wait() -> None:
            self._exit = _signalled(await self._sdk.wait.aio())

        try:
            await self._retry(wait)
            await self._settle()
            if self._exit == -SIGKILL:  # it alone, or the sandbox?
                await self._machine.check()
        except MachineError as error:
            self._exit = None
            self.fail(partial(_again, error))
        finally:
            self._ended.set()

    async def _settle(self) -> None:
        """Let what the command left arrive, without waiting for children that hold its pipes."""
        outputs = [it for it in (self._output, self.stderr) if isinstance(it, Output)]
        seen = -1
        while seen != (seen := sum(it.seen for it in outputs)):
            with anyio.move_on_after(QUIET):
                for output in outputs:
                    await output.ended.wait()
                return

    async def _retry(self, work: Callable[[], Awaitable[None]], *, writing: bool = False) -> None:
        """Do it until it succeeds: an outage of some seconds is nobody's concern.

        Raises:
            MachineError: the sandbox is gone, or out of reach for too long.
            NobodyReads: what is written is not wanted any more.
        """
        delay, deadline = FIRST_DELAY, anyio.current_time() + OUTAGE
        while True:
            began = anyio.current_time()
            try:
                return await work()
            except Exception as error:
                await self._machine.check()
                if not transient(error):
                    if writing:
                        raise NobodyReads from error
                    raise self._machine.trouble(error) from error
                if anyio.current_time() > deadline:
                    raise self._lost(error) from error
                if anyio.current_time() - began > LONGEST_DELAY * 10:  # it went well meanwhile
                    delay, deadline = FIRST_DELAY, anyio.current_time() + OUTAGE
            await anyio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _lost(self, error: Exception) -> LinkBroken:
        text = f"out of reach for {OUTAGE:g} s ({error}): what became of the command is unknown"
        return LinkBroken(text, machine=self._machine.name, outcome_unknown=True)

    def fail(self, failure: Callable[[], MachineError]) -> None:
        """The command is over, as far as anybody here can know."""
        if not self._ended.is_set():
            self._failure = failure
            self._ended.set()
            self._leave()

    # --- its start

    async def begun(self, program: str) -> None:
        """Wait until the command runs.

        Raises:
            OSError: it cannot: FileNotFoundError, PermissionError, NotADirectoryError.
            MachineError: the sandbox says why it cannot.
        """
        line = await self._first_line()
        word, _, rest = line.removeprefix(HELLO).decode("utf-8", "replace").partition(" ")
        if word == "!":
            name, _, what = rest.partition(" ")
            number = getattr(errno, name, errno.EIO)
            raise OSError(number, os.strerror(number), what or program)
        if not line.startswith(HELLO) or not word.isdigit():
            await self._machine.check()
            if self._failure is not None:
                raise self._failure()
            said = line.decode("utf-8", "replace").strip()
            raise MachineError(f"commands do not start: {said!r}", machine=self._machine.name)
        self._pid, self._terminal = word, rest.strip()

    async def _first_line(self) -> bytes:
        line = b""
        with suppress(EndOfStream, anyio.BrokenResourceError):
            while b"\n" not in line and len(line) < LONGEST:
                line += await self._output.receive()
        line, _, rest = line.partition(b"\n")
        self._output.push_back(rest)
        return line.rstrip(b"\r")

    # --- its end

    async def wait(self) -> int:
        """See ``Process.wait``."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure()
        return -SIGKILL if self._exit is None else self._exit

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        if self._pid and not self._ended.is_set():
            words = 'kill "-$1" "-$2" 2>/dev/null || kill "-$1" "$2" 2>/dev/null; :'
            await self._machine.run("sh", "-c", words, "ramure", str(int(number)), self._pid)

    async def kill(self) -> None:
        """See ``Process.kill``."""
        await to_end(self._kill)

    async def _kill(self) -> None:
        root = "" if self._ended.is_set() else self._pid
        with anyio.move_on_after(KILLING), suppress(LinkBroken):
            await self._machine.run(*kill_command(self._mark, root))
            await self._ended.wait()
            return
        # It is killed once the sandbox can be reached again; nobody waits for that.
        self._machine.unkilled.add(self._mark)
        self.fail(self._unseen)

    def _unseen(self) -> LinkBroken:
        text = "the sandbox was out of reach when the command was to be killed: it will be"
        return LinkBroken(text, machine=self._machine.name, outcome_unknown=True)

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``."""
        if self._terminal and not self._ended.is_set():
            words = (
                "stty",
                "-F",
                self._terminal,
                "rows",
                str(size.rows),
                "cols",
                str(size.columns),
            )
            await self._machine.run(*words)

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            with suppress(MachineError):  # the sandbox is gone
                if not self._ended.is_set():
                    await self.kill()
        finally:
            await to_end(self._let_go)

    async def _let_go(self) -> None:
        self._leave()
        await asyncio.wait(self._tasks)
        if self in self._machine.processes:  # for the first time
            self._machine.processes.discard(self)
            self._machine.places.release_on_behalf_of(self._mark)
        for stream in (self.stdin, self.stdout, self.stderr):
            await stream.aclose()


class NobodyReads(Exception):
    """A command has closed its input."""


def _again(error: MachineError) -> MachineError:
    error.__traceback__ = None
    return error


def _signalled(code: int) -> int:
    """An exit code as ramure has it."""
    return 128 - code if code - 128 in _SIGNALS else code


def shell_words(shell: str, command: Any) -> list[str]:
    """The words of a command: a string is run by the shell."""
    return [shell, "-c", command] if isinstance(command, str) else list(command)
