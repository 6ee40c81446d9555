"""``ramure ssh`` into a container: neither Docker's own command nor its permission is needed."""

import os
import pty
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from ramure_docker.process import HEARD, HELLO, script
from screens import HANGS, Screen, ramure

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


@pytest.fixture
def box(docker_host, home, monkeypatch):
    """The name of a machine of a program that runs. Its engine is the program's alone to know."""
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        name = program.stdout.readline().strip()
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        yield name
    finally:
        program.terminate()
        program.wait(HANGS)
        program.stdout.close()


async def test_a_shell(box):
    with Screen("ssh", "--machine", box) as screen:
        await screen.expect(f"on {box}")
        screen.type("uname -n; echo size=$(stty size)\n")
        await screen.expect("size=")
        screen.type("exit 7\n")
        assert await screen.end() == 7


async def test_every_key_arrives(box):
    """Also those by which Docker's own command lets go of a terminal."""
    command = "stty raw -echo; echo ready; head -c 2 | cat -v"
    with Screen("ssh", "--machine", box, "sh", "--", "-c", command) as screen:
        await screen.expect("ready")
        screen.type("\x10\x11")
        await screen.expect("^P^Q")
        assert await screen.end() == 0


async def test_a_command_without_a_terminal(box):
    command = ("sh", "--", "-c", "cat; echo wrong >&2; exit 5")
    done = await ramure("ssh", "--machine", box, *command, data=b"\x10\x11 in")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"\x10\x11 in", b"wrong\n")


FULL = 5000
"""Bytes, more than Linux moves to the reader's side of a terminal before somebody reads."""

EMPTIES = "import termios; termios.tcflush(1, termios.TCOFLUSH); print('empty', flush=True)"


def test_what_a_program_throws_away_at_its_start():
    """As tmux does: all that is not on the reader's side yet, where a busy computer is late."""
    ours, theirs = pty.openpty()
    os.write(theirs, b"." * FULL)
    command = script("start.sh", "/", "24", "80", sys.executable, "-c", EMPTIES)
    with (
        os.fdopen(ours, "rb+", buffering=0) as terminal,
        subprocess.Popen(command, stdin=theirs, stdout=theirs, start_new_session=True) as it,
    ):
        os.close(theirs)
        with suppress(subprocess.TimeoutExpired):
            it.wait(1)  # it does not end: it waits until we have read what it says
        said = b""
        while b"\n" not in said:
            said += terminal.read(FULL)
        assert said.lstrip(b".") == HELLO + b"%d\r\n" % it.pid
        terminal.write(HEARD)
        assert b"".join(iter(lambda: terminal.read(1), b"\n")) == b"empty\r"
