"""Programs that are ended in every way, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import measured

MARK = "RAMURE_ENDING"
HANGS = 60.0
"""Seconds after which something hangs."""

BOUND = 5.0
"""Seconds after which a program that was told to end is gone, and has left nothing."""

KILLED = 10.0
"""Seconds after which nothing is left of a program that was killed."""

PROLOGUE = """
import asyncio, os, sys
import ramure
from ramure import agent, agent_process, done, fail, machine, running, spawn, wait
from ramure.testing.harness import ScriptedHarness

harness = ScriptedHarness(process=True)

def say(word):
    print(f"{word}\\n", end="", flush=True)  # in one piece: threads print, too
"""

AT_WORK = """
@agent_process
async def main():
    box = await machine()
    await agent("a", harness=harness, machine=box)
    await agent("b", harness=harness)
    await box.open_process(["sleep", "3600"])
    await box.exec("setsid sleep 3600 >/dev/null 2>&1 </dev/null &")
    say("up")
    {then}

try:
    asyncio.run(main())
except Exception as error:
    say(type(error).__name__)
"""

WITH_PI = """
@agent_process
async def main():
    box = await machine()
    workers = await asyncio.gather(*(agent(name, machine=box) for name in "ab"))
    for worker in workers:
        say(worker.pid)
    say("up")
    await wait()

asyncio.run(main())
"""

NEXT = """
import asyncio, ramure
from pathlib import Path

@ramure.agent_process
async def main():
    own = ramure.current_runtime().id
    while any(own not in path.name for path in Path({folder!r}).iterdir()):
        await asyncio.sleep(0.1)

asyncio.run(main())
"""


def _names(folder: Path) -> list[str]:
    """All that is in a folder, which others may be removing."""
    while folder.exists():
        with suppress(FileNotFoundError):
            return [str(path) for path in folder.rglob("*")]
    return []


def _hears_hangups() -> None:
    """Whoever runs the tests may be deaf to a closed window, as with nohup, and pass that on."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Program:
    """A program in an empty home, whose processes carry a mark.

    Its time to end counts from the last signal; without any, from the last word that it was heard
    to say; and where somebody else is to clean up, from then.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        before: str = "",
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; ``before`` are lines that come before it has imported ramure."""
        self.mark = uuid.uuid4().hex
        self.home = folder / "h"
        self.temporary = folder / "t"
        self.temporary.mkdir(exist_ok=True)
        # Where sockets are whose own place has too long a path.
        self.short = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
        path = folder / "program.py"
        path.write_text(before + PROLOGUE + textwrap.dedent(source))
        self.environment = {
            **os.environ,
            **measured.environment(),
            **(environment or {}),
            "RAMURE_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "XDG_RUNTIME_DIR": str(self.short),
            MARK: self.mark,
        }
        self.process = subprocess.Popen(
            [python, str(path)],
            env=self.environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hears_hangups,  # noqa: PLW1509 there is no other thread
        )
        self._told, self._signalled = time.monotonic(), False
        self._ended = 0.0

    def hear(self, *words: str) -> list[str]:
        """Read what the program prints until one of the words; give what it said before."""
        said: list[str] = []
        while line := self.process.stdout.readline():
            if line.strip() in words:
                if not self._signalled:
                    self._told = time.monotonic()
                return said
            said.append(line.strip())
        raise AssertionError(f"it ended before it said {words}: {self.process.stderr.read()}")

    def signal(self, number: int) -> None:
        self._told, self._signalled = time.monotonic(), True
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code and what it wrote to stderr."""
        _, errors = self.process.communicate(timeout=HANGS)
        self._ended = time.monotonic()
        return self.process.returncode, errors

    def processes(self) -> dict[int, str]:
        """What still carries its mark: pids and command lines."""
        found = {}
        needle = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                with suppress(OSError):
                    if needle in (entry / "environ").read_bytes():
                        found[int(entry.name)] = (entry / "cmdline").read_text()
        return found

    def files(self) -> list[str]:
        """What is left in its folders; logs may stay."""
        runtimes = self.home / "runtimes"
        return [*_names(runtimes), *_names(self.short / "ramure"), *_names(self.temporary)]

    def listening(self) -> list[str]:
        """The unix sockets in its folders that somebody listens at."""
        lines = Path("/proc/net/unix").read_text().splitlines()
        paths = [line.split(maxsplit=7)[7] for line in lines[1:] if len(line.split()) > 7]
        folders = (str(self.home), str(self.temporary), str(self.short))
        return [path for path in paths if path.startswith(folders)]

    def _left(self, *, itself: bool) -> list[object]:
        there = ["the program"] if itself and self.process.poll() is None else []
        return [*there, *self.processes().items(), *self.files(), *self.listening()]

    def wait_clean(self, patience: float, *, but_itself: bool = False) -> None:
        """Fail unless it was gone, and left nothing, so many seconds after it was told to end."""
        deadline = self._told + patience
        while left := self._left(itself=not but_itself):
            assert time.monotonic() <= deadline, f"left: {left}"
            time.sleep(0.05)
        took = self._ended - self._told
        assert took <= patience, f"it took {took:.2f} s to end"

    def command(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``ramure`` in its home."""
        kept = {k: v for k, v in self.environment.items() if k != MARK}
        done = subprocess.run(
            [sys.executable, "-m", "ramure", *arguments],
            env={**kept, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=HANGS,
            check=False,
        )
        self._told = time.monotonic()
        return done

    def keeper(self) -> int:
        """Its keeper's pid."""
        (keeper,) = [pid for pid, title in self.processes().items() if "keeper.py" in title]
        return keeper

    def run_another(self) -> None:
        """A run of another program in its home, which ends when only what is its own is there."""
        source = NEXT.format(folder=str(self.home / "runtimes"))
        environment = {k: v for k, v in self.environment.items() if k != MARK}
        subprocess.run([sys.executable, "-c", source], env=environment, check=True, timeout=HANGS)
        self._told = time.monotonic()
