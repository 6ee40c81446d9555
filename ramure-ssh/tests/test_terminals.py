"""What a person does from a terminal: ``ramure connect`` and ``ramure ssh`` on an SSH machine."""

import os
import pty
import subprocess
import sys

import anyio
import pytest

import parts
from ramure import agent, agent_process
from ramure.testing import ScriptedModel
from ramure_ssh.image import SSHImage

pytestmark = pytest.mark.pi

HANGS = 150


class Screen:
    """The command in a terminal of the test's own."""

    def __init__(self, *arguments):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ramure", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self._seen = b""

    async def expect(self, words):
        with anyio.fail_after(HANGS):
            while words.encode() not in self._seen:
                await anyio.wait_readable(self._ours)
                self._seen += os.read(self._ours, 1 << 16)
        self._seen = b""

    def type(self, keys):
        os.write(self._ours, keys.encode())

    async def end(self):
        with anyio.fail_after(HANGS):
            while self.process.poll() is None:
                await anyio.sleep(0.05)
        os.close(self._ours)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def ramure(*arguments, data=None):
    command = [sys.executable, "-m", "ramure", *arguments]
    return await anyio.run_process(command, input=data, check=False)


@pytest.mark.parametrize("relay", [True, False])
async def test_connect_and_ssh(new_server, keys, ramure_home, there, relay, monkeypatch):
    for name in ("TMUX", "TMUX_PANE"):
        monkeypatch.delenv(name, raising=False)
    new_server(env=parts.pi_environment())

    @agent_process(host="ssh://own", image=SSHImage(relay=relay), timeout=2 * HANGS)
    async def main(env):
        await agent("worker", env=env)

        with Screen("connect", "worker") as screen:
            await screen.expect("scripted")  # the model's name, in the last line of pi's screen
            screen.type("are you there?\r")
            await screen.expect("Hello, I am the script.")
            screen.type("\x02d")
            assert await screen.end() == 0

        with Screen("ssh", "worker") as screen:
            screen.type("cd; echo at $PWD; exit 3\r")
            await screen.expect(f"at {there}")
            assert await screen.end() == 3

        done = await ramure("ssh", "worker", "sort; echo aside >&2; exit 4", data=b"b\na\n")
        assert (done.stdout, done.returncode) == (b"a\nb\n", 4), done.stderr
        assert b"aside" in done.stderr

    async with ScriptedModel(["Hello, I am the script."]) as model:
        await main(model.env())
    assert not (there / ".ramure" / "machines").exists()
