"""``ramure ssh`` into a container: neither Docker's own command nor its permission is needed."""

import os
import pty
import select
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from typing import ClassVar

import pytest

HANGS = 45

PROGRAM = textwrap.dedent(
    """
    import asyncio
    from ramure import agent_process, machine

    @agent_process(image="docker:ramure-test/shell")
    async def main():
        box = await machine()
        print(box.name, flush=True)
        await asyncio.sleep(1000)

    asyncio.run(main())
    """
)


@pytest.fixture(scope="module", autouse=True)
def _ended():
    """No command outlives a test that failed."""
    yield
    for screen in Screen.all:
        screen.process.kill()
        screen.process.wait()


@pytest.fixture
def box(docker_host, home):
    """The name of a machine of a program that runs."""
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        yield program.stdout.readline().strip()
    finally:
        program.terminate()
        program.wait(HANGS)
        program.stdout.close()


class Screen:
    """The command ``ramure ssh`` on a terminal."""

    all: ClassVar = []

    def __init__(self, *arguments):
        ours, theirs = pty.openpty()
        # The engine is the program's to know.
        env = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ramure", "ssh", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self.all.append(self)
        self._ours, self._seen = ours, b""

    def type(self, text):
        os.write(self._ours, text.encode())

    def expect(self, text):
        deadline = time.monotonic() + HANGS
        while text.encode() not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._ours], [], [], 1)[0]:
                with suppress(OSError):
                    self._seen += os.read(self._ours, 65536)
        self._seen = self._seen.partition(text.encode())[2]

    def wait(self):
        try:
            return self.process.wait(HANGS)
        finally:
            os.close(self._ours)


def test_a_shell(box):
    screen = Screen("--machine", box)
    screen.expect(f"on {box}")
    screen.type("uname -n; echo size=$(stty size)\n")
    screen.expect("size=")
    screen.type("exit 7\n")
    assert screen.wait() == 7


def test_every_key_arrives(box):
    """Also those by which Docker's own command lets go of a terminal."""
    command = "stty raw -echo; echo ready; head -c 2 | cat -v"
    screen = Screen("--machine", box, "sh", "--", "-c", command)
    screen.expect("ready")
    screen.type("\x10\x11")
    screen.expect("^P^Q")
    assert screen.wait() == 0


def test_a_command_without_a_terminal(box):
    command = [sys.executable, "-m", "ramure", "ssh", "--machine", box]
    done = subprocess.run(
        [*command, "sh", "--", "-c", "cat; echo wrong >&2; exit 5"],
        input=b"\x10\x11 in",
        capture_output=True,
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, b"\x10\x11 in", b"wrong\n")
