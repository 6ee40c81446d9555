"""The ``ramure`` command in a terminal of a test's own, and without one."""

import os
import pty
import subprocess
import sys
from typing import Self

import anyio

HANGS = 150


class Screen:
    """The command in a terminal: ``with Screen("connect", "worker") as screen: …``."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        # As from a terminal that is in no tmux.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ramure", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self._seen = b""

    async def expect(self, words: str) -> None:
        """Read until it has shown ``words``; forget all until then."""
        with anyio.fail_after(HANGS):
            while words.encode() not in self._seen:
                await anyio.wait_readable(self._ours)
                try:
                    self._seen += os.read(self._ours, 1 << 16)
                except OSError as error:  # it has ended; what it said tells why
                    raise AssertionError(f"{words!r} is not in {self._seen!r}") from error
        self._seen = b""

    def type(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    async def end(self) -> int:
        """The command's exit code."""
        with anyio.fail_after(HANGS):
            while self.process.poll() is None:
                await anyio.sleep(0.05)
        os.close(self._ours)
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def ramure(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """The command without a terminal."""
    command = [sys.executable, "-m", "ramure", *arguments]
    return await anyio.run_process(command, input=data, check=False)


async def visit(folder: str, hello: str) -> None:
    """Do what a person does with an agent ``worker`` whose scripted model says ``hello``.

    Args:
        folder: where ``ramure ssh`` lands.
        hello: what the model answers.
    """
    with Screen("connect", "worker") as screen:
        await screen.expect("scripted")  # the model's name, in the last line of pi's screen
        screen.type("are you there?\r")
        await screen.expect(hello)
        screen.type("\x02d")
        assert await screen.end() == 0

    with Screen("ssh", "worker") as screen:
        screen.type("echo at $PWD; exit 3\r")
        await screen.expect(f"at {folder}")
        assert await screen.end() == 3

    done = await ramure("ssh", "worker", "sort; echo aside >&2; exit 4", data=b"b\na\n")
    assert (done.stdout, done.returncode) == (b"a\nb\n", 4), done.stderr
    assert b"aside" in done.stderr
