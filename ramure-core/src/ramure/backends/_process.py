"""A process on this computer."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from threading import Thread

from ramure._work import in_thread, to_end
from ramure.backends._descriptors import Ended, ReceiveDescriptor, SendDescriptor
from ramure.machine import Process
from ramure.values import PtySize

# $0 the terminal, which becomes the session's own by being opened.
IN_TERMINAL = 'exec "$@" 0<>"$0" 1>&0 2>&0'


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to run as: what the operating system calls them."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """What to start; ``env`` is all of its environment and holds ``mark``."""

    words: Sequence[str]
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    mark: str
    account: Account | None = None


class LocalProcess(Process):
    """A child of this program, in a session of its own.

    Made without awaiting anything, so that no cancellation comes between the child and its owner.
    """

    def __init__(self, popen: subprocess.Popen[bytes], mark: str, terminal: FileIO | None) -> None:
        self._popen = popen
        self._mark = mark
        self._terminal = terminal
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if terminal is None:
            assert popen.stdin is not None
            assert popen.stdout is not None
            assert popen.stderr is not None
            self.stdin = SendDescriptor(popen.stdin)
            self.stdout = ReceiveDescriptor(popen.stdout)
            self.stderr = ReceiveDescriptor(popen.stderr)
        else:
            self.stdin = SendDescriptor(FileIO(os.dup(terminal.fileno()), "w"))
            self.stdout = ReceiveDescriptor(terminal)
            self.stderr = Ended()
        self._watch()

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self._popen.pid)
        except (AttributeError, OSError):  # macOS, old kernels
            Thread(target=self._wait_in_thread, daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._popen.wait()
        self._ended.set()

    def _wait_in_thread(self) -> None:
        self._popen.wait()
        with suppress(RuntimeError):  # the loop may have ended before
            self._loop.call_soon_threadsafe(self._ended.set)

    async def wait(self) -> int:
        """See ``Process.wait``."""
        await self._ended.wait()
        return self._popen.wait()

    async def signal(self, number: int) -> None:
        """See ``Process.signal``."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    async def kill(self) -> None:
        """See ``Process.kill``."""
        await to_end(self._kill)

    async def _kill(self) -> None:
        await in_thread(self._kill_tree, pool="kill")
        await self._ended.wait()

    def _kill_tree(self) -> None:
        from ramure.backends._tree import kill_tree

        running = self._popen.returncode is None
        kill_tree(self._mark, self._popen.pid if running else None)

    async def resize(self, size: PtySize) -> None:
        """See ``Process.resize``."""
        if self._terminal is not None and not self._terminal.closed:
            _set_size(self._terminal.fileno(), size)

    async def aclose(self) -> None:
        """See ``Process.aclose``."""
        try:
            if not self._ended.is_set():
                await self.kill()
        finally:  # killing goes to its end and then raises a cancellation that came meanwhile
            for stream in (self.stdin, self.stdout, self.stderr):
                await stream.aclose()


def start(what: Start, pty: PtySize | None) -> LocalProcess:
    """Start a process.

    Raises:
        OSError: as the operating system says: FileNotFoundError, PermissionError, …
    """
    if pty is None:
        popen, terminal = _spawn(what, what.words, subprocess.PIPE), None
    else:
        popen, terminal = _spawn_in_terminal(what, pty)
    try:
        return LocalProcess(popen, what.mark, terminal)
    except BaseException:  # too many open files, say: nobody would own the child
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        raise


def _spawn(what: Start, words: Sequence[str], stdio: int) -> subprocess.Popen[bytes]:
    account = what.account
    return subprocess.Popen(
        words,
        bufsize=0,
        stdin=stdio,
        stdout=stdio,
        stderr=stdio,
        cwd=what.cwd,
        env=what.env,
        start_new_session=True,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else account.groups,
    )


def _spawn_in_terminal(what: Start, size: PtySize) -> tuple[subprocess.Popen[bytes], FileIO]:
    _check_program(what)  # it would only be the shell's complaint
    master, slave = os.openpty()
    terminal = FileIO(master, "r+")
    try:
        _set_size(slave, size)
        if what.account is not None:
            os.fchown(slave, what.account.uid, -1)
        words = ["sh", "-c", IN_TERMINAL, os.ttyname(slave), *what.words]
        return _spawn(what, words, slave), terminal
    except BaseException:
        terminal.close()
        raise
    finally:
        os.close(slave)


def _check_program(what: Start) -> None:
    Path(what.cwd).stat()
    program = what.words[0]
    path = os.path.join(what.cwd, program) if "/" in program else program  # noqa: PTH118 text
    if shutil.which(path, path=what.env.get("PATH")) is None:
        number = errno.EACCES if Path(path).is_file() else errno.ENOENT
        raise OSError(number, os.strerror(number), program)


def _set_size(terminal: int, size: PtySize) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
