"""A program runs clerks in sandboxes, the command line runs commands, and nothing is left."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from ramure import agent, agent_process, done, wait
from ramure.values import Host
from ramure_bubblewrap.backend import BubblewrapBackend
from ramure_bubblewrap.checks import usable

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "example.py"
HANGS = 120
"""Seconds after which a program has failed."""


def run(*command, **more):
    return subprocess.run(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
        **more,
    )


async def left():
    return await BubblewrapBackend().find({}, host=Host("bubblewrap"))


async def test_the_example():
    done = run("-W", "error", EXAMPLE)
    assert (done.returncode, done.stdout) == (0, "[3, 2]\n"), done.stderr
    assert await left() == []


async def test_an_agent_is_shut_in():
    @agent_process(image="bubblewrap:/usr/share", host=None)
    async def look() -> str:
        clerk = await agent("clerk", harness="clerk")

        @clerk.on("report")
        async def report() -> str:
            done((await clerk.exec("pwd; ls ~ | wc -l")).stdout)
            return "Recorded."

        await clerk.send("call report")
        return await wait()

    with anyio.fail_after(HANGS):
        assert await look() == "/work\n0\n"


async def test_a_program_that_is_killed_leaves_nothing(home):
    program = (
        "import asyncio\n"
        "from ramure import agent_process, machine\n"
        "@agent_process(host='bubblewrap')\n"
        "async def main():\n"
        "    box = await machine()\n"
        "    print('up', flush=True)\n"
        "    await box.exec('sleep 1000')\n"
        "asyncio.run(main())\n"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)  # noqa: ASYNC220
    with running:
        assert running.stdout.readline() == b"up\n"
        (ref,) = await left()
        running.send_signal(signal.SIGKILL)
    with anyio.fail_after(HANGS):
        while await left() or _mentions(str(ref.data["mark"])):
            await anyio.sleep(0.1)


def _mentions(mark):
    """The processes that have this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_the_command_line():
    command = run("-m", "ramure", "bubblewrap", "sh", "-c", "echo $PWD; echo no >&2; exit 3")
    assert (command.returncode, command.stdout, command.stderr) == (3, "/work\n", "no\n")


async def test_the_check_finds_nothing():
    assert await usable() == []


async def test_the_check_tells_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = await usable()
    assert problem.unused
    assert "apt install bubblewrap" in problem.cure
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no namespaces >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (problem,) = await usable()
    assert not problem.unused
    assert "no namespaces" in problem.what
