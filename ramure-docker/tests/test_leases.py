"""What ends a container: its program, its keeper, and where both were killed, itself."""

import os
import signal
import sys

import anyio

from container_programs import Program
from ramure_docker import DockerImage

HANGS = 60


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.1)


async def test_a_killed_program(docker_host, containers, home):
    """Its keeper removes the container, long before the lease."""
    with Program() as program:
        assert len(containers(program.run)) == 1
        program.kill()
        await until(lambda: not containers(program.run))
        await until(lambda: not list((home / "runtimes").iterdir()))


async def test_a_killed_program_and_its_killed_keeper(docker_host, containers, home):
    """The container ends by itself; no other run and no gc helps."""
    with Program(lease=4) as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        assert len(containers(program.run)) == 1
        await until(lambda: not containers(program.run))


async def test_a_stopped_program_keeps_its_container(docker_host, containers, home):
    """A program that is suspended, or whose loop is blocked, is not a dead one."""
    with Program(lease=3) as program:
        program.process.send_signal(signal.SIGSTOP)
        await anyio.sleep(8)
        assert len(containers(program.run)) == 1
        program.process.send_signal(signal.SIGCONT)
        program.process.terminate()
        await until(lambda: not containers(program.run))


async def test_a_blocked_loop_keeps_its_container(docker_host, containers, home):
    body = "import time; time.sleep(1000)"
    with Program(lease=3, body=body) as program:
        await anyio.sleep(8)
        assert len(containers(program.run)) == 1


async def test_gc_removes_what_is_left(docker_host, containers, home, make):
    """And leaves alone what belongs to a run that lives."""
    other = await make()
    with Program() as living, Program() as program:
        os.kill(program.keeper(), signal.SIGKILL)
        program.kill()
        gc = [sys.executable, "-m", "ramure", "gc"]
        done = await anyio.run_process(gc, check=False)
        assert done.returncode == 0, done.stderr
        assert program.machine in done.stdout.decode()
        assert not containers(program.run)
        assert len(containers(living.run)) == 1
    assert (await other.exec("echo here")).stdout == "here\n"


async def test_a_hold_that_is_lost_is_taken_again(docker_host, make):
    machine = await make(DockerImage("ramure-test/shell", lease=3))
    await anyio.aclose_forcefully(machine._hold._guard)
    await anyio.sleep(8)
    assert (await machine.exec("echo here")).stdout == "here\n"
