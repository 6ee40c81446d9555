"""A program that is killed leaves nothing on the host, within seconds."""

import os
import signal
import sys
from pathlib import Path

import anyio

import ssh_servers
from ending_programs import HANGS, Program

PROGRAM = """
import asyncio
from ramure import agent_process, machine

@agent_process(host="ssh://own")
async def main():
    box = await machine()
    await box.exec("setsid sleep 1000 >/dev/null 2>&1 & echo $! >pid")
    print("up", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def running(pid):
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_kill_minus_nine(new_server, there, ramure_home):
    new_server()
    command = [sys.executable, "-c", PROGRAM]
    async with await anyio.open_process(command, stdin=None, stderr=None) as program:
        with anyio.fail_after(60):
            assert (await program.stdout.receive()).startswith(b"up")
        program.send_signal(signal.SIGKILL)
        await program.wait()
    pid = (there / "pid").read_text()
    with anyio.fail_after(60):  # its lease would be over in two minutes
        while running(pid) or (there / ".ramure" / "machines").exists():
            await anyio.sleep(0.1)
        while list((ramure_home / "runtimes").iterdir()):
            await anyio.sleep(0.1)


AT_WORK = """
@agent_process(host="ssh://own")
async def main():
    box = await machine()
    await box.exec("setsid sleep 1000 >/dev/null 2>&1 & echo $! >pid")
    say("up")
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_gc_removes_what_a_dead_run_has_left_on_a_host(new_server, there, tmp_path):
    new_server()
    program = Program(tmp_path, AT_WORK)
    try:
        program.hear("up")
        os.kill(program.keeper(), signal.SIGKILL)
        program.signal(signal.SIGKILL)
        program.end()
        pid = (there / "pid").read_text()
        assert running(pid)  # nobody is left to see to it, and its lease is long
        done = program.command("gc")
        assert done.returncode == 0, done.stderr
        with anyio.fail_after(HANGS):
            while running(pid):
                await anyio.sleep(0.1)
        assert not (there / ".ramure" / "machines").exists()
    finally:
        for left in program.processes():
            os.kill(left, signal.SIGKILL)
        program.process.communicate(timeout=HANGS)
        program.short.rmdir()


SERVE = """
import sys, time
import ssh_servers

server = ssh_servers.Server(*sys.argv[1:])
server.start()
print(server._process.pid, flush=True)
time.sleep(1000)
"""


async def test_the_tests_own_server_ends_with_them(sshd_there, tmp_path, there):
    """However they end: else each run that is killed would leave one behind."""
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(there)]
    env = {**os.environ, "PYTHONPATH": str(Path(ssh_servers.__file__).parent)}
    async with await anyio.open_process(command, stdin=None, stderr=None, env=env) as tests:
        with anyio.fail_after(HANGS):
            server = int(await tests.stdout.receive())
        assert running(server)
        tests.send_signal(signal.SIGKILL)
        await tests.wait()
    try:
        with anyio.fail_after(HANGS):
            while running(server):
                await anyio.sleep(0.05)
    finally:
        if running(server):
            os.kill(server, signal.SIGKILL)
