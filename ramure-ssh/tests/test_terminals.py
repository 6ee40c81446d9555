"""What a person does from a terminal: ``ramure connect`` and ``ramure ssh`` on an SSH machine."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

import parts
from ramure import agent, agent_process
from ramure.testing import ScriptedModel
from ramure_ssh.image import SSHImage
from ramure_ssh.machine import HEARD
from ramure_ssh.script import line
from screens import HANGS, visit

HELLO = "Hello, I am the script."


@pytest.mark.pi
@pytest.mark.parametrize("relay", [True, False])
async def test_connect_and_ssh(new_server, keys, ramure_home, there, relay):
    new_server(env=parts.pi_environment())

    @agent_process(host="ssh://own", image=SSHImage(relay=relay), timeout=2 * HANGS)
    async def main(env):
        await agent("worker", env=env)
        await visit(str(there), HELLO)

    async with ScriptedModel([HELLO]) as model:
        await main(model.env())
    assert not (there / ".ramure" / "machines").exists()


FULL = 5000
"""Bytes, more than Linux moves to the reader's side of a terminal before somebody reads."""

EMPTIES = "import termios; termios.tcflush(1, termios.TCOFLUSH); print('empty', flush=True)"


async def test_what_a_program_throws_away_at_its_start(plain, tmp_path):
    """As tmux does: all that is not on the reader's side yet, where a busy computer is late."""
    words = [sys.executable, "-c", EMPTIES]
    script = tmp_path / "start"
    script.write_bytes(line(plain._script("word", "mark", words, "/", {}, None, waits=True)))
    _run_in_a_full_terminal(script)


def _run_in_a_full_terminal(script):
    ours, theirs = pty.openpty()
    os.write(theirs, b"." * FULL)
    with (
        os.fdopen(ours, "rb+", buffering=0) as terminal,
        subprocess.Popen(["sh", script], stdin=theirs, stdout=theirs, start_new_session=True) as it,
    ):
        os.close(theirs)
        with suppress(subprocess.TimeoutExpired):
            it.wait(1)  # it does not end: it waits until we have read what it says
        said = b""
        while b"\n" not in said:
            said += terminal.read(FULL)
        assert said.lstrip(b".") == b"word ok %d\r\n" % it.pid
        terminal.write(HEARD)
        assert b"".join(iter(lambda: terminal.read(1), b"\n")) == b"empty\r"
