"""Runs the examples as a person would: in a process of their own, on the real pi in a real tmux.

A scripted model plays the model: pi finds it through the environment, and the examples know nothing
of it.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import parts
from checkout import ROOT

EXAMPLES = ROOT / "examples"
HANGS = 200
"""Seconds after which an example that does not end has failed."""


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Ended:
    """How an example ended, and what it printed."""

    def __init__(self, done):
        self.code = done.returncode
        self.out, self.err = done.stdout.decode(), done.stderr.decode()

    @property
    def last(self):
        """The last line on its standard output."""
        return self.out.rstrip().rpartition("\n")[2]


class House:
    """A folder to work in, a home, and the examples run there."""

    def __init__(self, home, work):
        self.home, self.work = home, work
        parts.share_compiled(home)
        self.env = os.environ | parts.pi_environment() | {"RAMURE_HOME": str(home)}

    async def run(self, name, *arguments, model, said="", **env):
        """Run an example to its end; nothing of its run is there any more."""
        command = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments]
        env = self.env | model.env() | env
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [str(word) for word in command],
                input=said.encode(),
                cwd=self.work,
                env=env,
                check=False,
            )
        runtimes = self.home / "runtimes"
        assert not runtimes.exists() or not list(runtimes.iterdir())
        return Ended(done)

    @asynccontextmanager
    async def running(self, name, *arguments, model):
        """An example at work, with pipes on both sides; ended with the block."""
        command = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments]
        process = await anyio.open_process(
            [str(word) for word in command],
            cwd=self.work,
            env=self.env | model.env(),
            stdin=subprocess.PIPE,
        )
        async with process:
            try:
                with anyio.fail_after(HANGS):
                    yield process
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)


@pytest.fixture
def house(tmp_path):
    """The home has a short path (unix sockets)."""
    work = tmp_path / "work"
    work.mkdir()
    with tempfile.TemporaryDirectory(prefix="h-") as home:
        yield House(Path(home), work)
