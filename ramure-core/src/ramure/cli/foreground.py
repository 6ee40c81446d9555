"""A command that has this terminal until it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from ramure.cli.pty import shell_code
from ramure.errors import RunError


def run(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command in the foreground; give its exit code as a shell tells it.

    It may stop this program together with itself (Ctrl-Z), and is told what ends this program.

    Raises:
        RunError: it cannot be started.
    """
    try:
        # Python ignores this signal; other programs do not expect to.
        pid = os.posix_spawnp(command[0], list(command), dict(env), setsigdef=[signal.SIGPIPE])
    except OSError as error:
        raise RunError(f"cannot run {command[0]}: {error.strerror}") from error
    with _passed_on(pid):
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return shell_code(os.waitstatus_to_exitcode(status))
            os.kill(os.getpid(), signal.SIGTSTP)


@contextmanager
def _passed_on(pid: int) -> Iterator[None]:
    """Let the command deal with what comes from outside; keys are its own business anyway."""

    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(pid, number)

    wanted = {signal.SIGINT: _ignore, signal.SIGTERM: pass_on, signal.SIGHUP: pass_on}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
