"""``Machine.exec``, written once over ``open_process``."""

from __future__ import annotations

import asyncio
import math
import shlex
from collections.abc import Mapping
from contextlib import suppress
from signal import Signals
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
from anyio import BrokenResourceError, ClosedResourceError
from anyio.abc import ByteReceiveStream, ByteSendStream

from ramure._disk import CHUNK
from ramure._work import to_end
from ramure.cancellation import Job
from ramure.errors import CommandFailed, MachineError, UsageError
from ramure.values import ExecResult

if TYPE_CHECKING:
    from ramure.machine import Command, Machine, Process

QUIET = 0.1
"""After a command's own end: seconds without output after which nothing more is awaited."""

GRACE = 1.0
"""After a command's own end: seconds after which output is no longer read at all."""


class Capture:
    """Reads a stream to its end and keeps its first ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._kept = 0
        self.seen = 0
        self.ended = asyncio.Event()

    @property
    def truncated(self) -> bool:
        """More came than was kept."""
        return self.seen > self._kept

    def data(self) -> bytes:
        """What was kept."""
        return b"".join(self._chunks)

    async def read(self, stream: ByteReceiveStream) -> None:
        """Read all there is. A link that breaks is ``Process.wait``'s to report."""
        with suppress(BrokenResourceError, ClosedResourceError, MachineError):
            async for chunk in stream:
                self._keep(chunk)
        self.ended.set()

    def _keep(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        if room := self._limit - self._kept:
            self._chunks.append(chunk[:room])
            self._kept += len(self._chunks[-1])


async def execute(
    machine: Machine,
    command: Command,
    *,
    timeout: float | None,
    data: bytes | str | None,
    cwd: str | None,
    env: Mapping[str, str] | None,
    user: str | None,
    max_output: int,
) -> ExecResult:
    """Run ``command`` as ``Machine.exec`` promises, without ``check``."""
    check_command(command, env, cwd)
    _check_limits(timeout, max_output)
    started = perf_counter()
    deadline = math.inf if timeout is None else anyio.current_time() + timeout
    out, err = Capture(max_output), Capture(max_output)
    process = exit_code = None
    with anyio.CancelScope(deadline=deadline):
        process = await _start(machine, command, timeout, cwd=cwd, env=env, user=user)
    if process is not None:
        stdin = data.encode() if isinstance(data, str) else data or b""
        exit_code = await _attend(process, stdin, out, err, deadline)
    return ExecResult(
        command=readable(command),
        exit_code=exit_code,
        stdout_bytes=out.data(),
        stderr_bytes=err.data(),
        timed_out=exit_code is None,
        truncated=out.truncated or err.truncated,
        duration=perf_counter() - started,
    )


async def _start(machine: Machine, command: Command, timeout: float | None, **how: Any) -> Process:
    from ramure.machine import KeepsDeadlines

    if timeout is not None and isinstance(machine, KeepsDeadlines):
        return await machine.open_due(command, due=timeout, **how)
    return await machine.open_process(command, **how)


async def _attend(
    process: Process, stdin: bytes, out: Capture, err: Capture, deadline: float
) -> int | None:
    """Feed and read ``process`` until its end or the deadline; None where it had to be killed."""

    async def body() -> int | None:
        exit_code = None
        with anyio.CancelScope(deadline=deadline):
            exit_code = await process.wait()
        if exit_code is None:
            await to_end(process.kill)
        await settle(out, err)
        return exit_code

    job = Job(body)  # whose error leaves as it is, not in a group
    try:
        async with anyio.create_task_group() as tasks:
            if stdin:
                tasks.start_soon(_feed, process.stdin, stdin)
            else:
                await process.stdin.aclose()
            tasks.start_soon(out.read, process.stdout)
            tasks.start_soon(err.read, process.stderr)
            await job.run()
            tasks.cancel_scope.cancel()
    finally:
        await (process.aclose() if job.made else abandon(process))
    return job.outcome()


async def abandon(process: Process) -> None:
    """Kill all of a process and let go of it, through any cancellation."""

    async def end() -> None:
        with suppress(MachineError):  # the first failure is the one worth telling
            await process.kill()
        with suppress(MachineError):
            await process.aclose()

    await to_end(end)


async def settle(*captures: Capture) -> None:
    """Read what an ended command left, without waiting for children that hold its pipes."""
    if all(capture.ended.is_set() for capture in captures):
        return
    silent = 0
    with anyio.move_on_after(GRACE):
        while silent < 2:  # twice: a loop that was held up sees its timers before late output
            seen = [capture.seen for capture in captures]
            with anyio.move_on_after(QUIET / 2):
                for capture in captures:
                    await capture.ended.wait()
                return
            silent = silent + 1 if seen == [capture.seen for capture in captures] else 0


async def _feed(stdin: ByteSendStream, data: bytes) -> None:
    # A command need not read its input.
    with suppress(BrokenResourceError, ClosedResourceError, MachineError):
        async with stdin:
            for start in range(0, len(data), CHUNK):
                await stdin.send(data[start : start + CHUNK])


def check_command(
    command: Command, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> None:
    """Refuse what not every machine could run.

    Raises:
        UsageError: an empty command, or something that is not text, that has NUL bytes, or bytes
            that are not UTF-8 (as in a file name of ``os.listdir``).
    """
    words = [command] if isinstance(command, str) else list(command)
    if not words or not words[0]:
        raise UsageError("a command needs at least the name of a program")
    pairs = [text for pair in (env or {}).items() for text in pair]
    for text in [*words, *pairs]:
        if not isinstance(text, str):
            raise UsageError(f"commands and environments are text, not {type(text).__name__}")
        if "\0" in text:
            raise UsageError("a NUL byte cannot be part of a command or its environment")
    for text in [*words, *pairs, cwd or ""]:
        if not _is_utf8(text):
            raise UsageError(
                f"{text!a} is not UTF-8: commands, environments and folders travel as text; "
                "give such bytes by input= or in a file"
            )
    for name in env or {}:
        if not name or "=" in name:
            raise UsageError(f"{name!r} cannot be the name of an environment variable")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_limits(timeout: float | None, max_output: int) -> None:
    if timeout is not None and not timeout > 0:  # "not >": NaN is refused too
        raise UsageError(f"timeout={timeout}: a time-out is a number of seconds above 0, or None")
    if max_output < 0:
        raise UsageError(f"max_output={max_output}: a number of bytes, 0 or more")


def readable(command: Command) -> str:
    """A command as people would type it."""
    return command if isinstance(command, str) else shlex.join(command)


def failed(result: ExecResult, timeout: float | None, machine: str) -> CommandFailed:
    """The error of a command that failed: what it was, how it ended, the end of what it said."""
    shown = result.command if len(result.command) <= 200 else f"{result.command[:200]}…"
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-20:]
    tail = "".join(f"\n  | {line[:300]}" for line in said)
    message = f"`{shown}` {_how_it_ended(result.exit_code, timeout)}{tail}"
    return CommandFailed(message, result=result, machine=machine)


def _how_it_ended(exit_code: int | None, timeout: float | None) -> str:
    if exit_code is None:
        return f"did not end within {timeout:g} s and was killed"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    with suppress(ValueError):
        return f"was ended by {Signals(-exit_code).name}"
    return f"was ended by signal {-exit_code}"
