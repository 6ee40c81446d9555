"""What happens while the link is down, when it comes back, and when it never does."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError, MachineGone, RelayUnavailable
from ramure.relay import RelayedMachine
from ramure.testing._stage import processes_with

HANGS = 60
"""Seconds after which a test has hung."""

BEAT = "setsid sh -c 'while :; do echo >>beat; sleep 0.05; done' & "


def beats(workdir):
    file = workdir / "beat"
    return file.stat().st_size if file.exists() else 0


async def beating(workdir):
    with anyio.fail_after(HANGS):
        while not beats(workdir):
            await anyio.sleep(0.01)


def resident(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def popen(*args, **kwargs):
    return subprocess.Popen(*args, **kwargs)


async def silent(workdir):
    """Wait until nothing beats any more."""
    with anyio.fail_after(HANGS):
        before = -1
        while before != beats(workdir):
            before = beats(workdir)
            await anyio.sleep(0.5)


async def nothing_left(text):
    with anyio.fail_after(HANGS):
        while found := processes_with(text):
            assert found
            await anyio.sleep(0.1)


@pytest.fixture
def over(plain):
    """Start relays; all are gone after the test."""
    machines = []

    async def start(**options):
        machines.append(await RelayedMachine.over(plain, **{"heartbeat": 0, "lease": 30} | options))
        return machines[-1]

    return start


@pytest.fixture(autouse=True)
async def _ends(plain):
    yield
    await plain.destroy()
    await nothing_left(plain.state_dir)


# --- while it is down


async def test_a_command_goes_on(relayed, plain, workdir):
    results = []

    async def run():
        results.append(await relayed.exec("echo one; until [ -e go ]; do sleep 0.05; done; echo 2"))

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await relayed.exec("true")
            async with plain.outage():
                await anyio.sleep(0.2)
                (workdir / "go").touch()
                await anyio.sleep(0.5)
                assert not results
    assert results[0].stdout == "one\n2\n"
    assert results[0].exit_code == 0


async def test_what_is_asked_meanwhile_is_done_once(relayed, plain, workdir):
    async def run(number):
        await relayed.exec(f"echo {number} >>ran", check=True)

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks, plain.outage():
            await anyio.sleep(0.1)
            for number in range(10):
                tasks.start_soon(run, number)
            await anyio.sleep(0.2)
    ran = (workdir / "ran").read_text().split()
    assert sorted(map(int, ran)) == [*range(10)]


async def test_a_time_out_comes_at_its_deadline(relayed, plain, workdir):
    async def run():
        results.append(await relayed.exec(f"echo out; {BEAT} sleep 1000", timeout=1))

    results = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await beating(workdir)
        await relayed.exec("true")  # its answer comes after what was there before it
        async with plain.outage():
            with anyio.fail_after(HANGS):
                while not results:
                    await anyio.sleep(0.05)
            await silent(workdir)  # the daemon has kept the deadline, with no link
    assert results[0].timed_out
    assert results[0].stdout == "out\n"


async def test_a_start_may_time_out(relayed, plain):
    async with plain.outage():
        await anyio.sleep(0.1)
        with anyio.fail_after(HANGS):
            result = await relayed.exec("sleep 1000", timeout=0.2)
    assert result.timed_out


async def test_a_cancellation_returns_at_once_and_kills_later(relayed, plain, workdir):
    command = f"{BEAT} sleep 1000"
    tasks = [asyncio.ensure_future(relayed.exec(command)) for _ in range(3)]
    await beating(workdir)
    async with plain.outage():
        await anyio.sleep(0.1)
        for task in tasks:
            task.cancel()
        done, waiting = await asyncio.wait(tasks, timeout=5)  # cleanup would give up after 10
        assert (len(done), len(waiting)) == (3, 0)
        before = beats(workdir)
        await anyio.sleep(0.5)
        assert beats(workdir) > before  # it cannot know yet
    await silent(workdir)


async def test_output_waits_on_the_machine_in_bounded_memory(relayed, plain):
    size = 60_000_000
    async with await relayed.open_process(f"head -c {size} /dev/zero") as process:
        async with plain.outage():
            await anyio.sleep(1)
            [daemon] = [pid for pid, line in processes_with(plain.state_dir).items()
                        if " daemon " in line]  # fmt: skip
            assert resident(daemon) < 150_000_000
        got = 0
        with anyio.fail_after(HANGS):
            async for chunk in process.stdout:
                got += len(chunk)
    assert got == size


# --- for good


async def test_beyond_the_lease_all_that_waits_fails(over, plain, workdir):
    relayed = await over(lease=1)
    raised = []

    async def run(work):
        try:
            await work
        except LinkBroken as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        process = await relayed.open_process(["sleep", "1000"])
        tasks.start_soon(run, process.stdout.receive())
        tasks.start_soon(run, process.wait())
        tasks.start_soon(run, process.stdin.send(b"x" * 20_000_000))
        tasks.start_soon(run, relayed.exec(f"{BEAT} sleep 1000"))
        await beating(workdir)
        with anyio.fail_after(HANGS):
            async with plain.outage():
                await relayed.relay.link.broken.wait()
    assert len(raised) == 4
    assert all(error.outcome_unknown for error in raised)
    with pytest.raises(LinkBroken) as caught:
        await relayed.exec("true")
    assert not caught.value.outcome_unknown
    await process.aclose()
    await silent(workdir)
    await nothing_left(f"{plain.state_dir}/relay-")
    assert names(plain.state_dir) == []
    await relayed.destroy()


async def test_a_daemon_that_is_gone(over, plain):
    relayed = await over()
    for pid, line in processes_with(plain.state_dir).items():
        if " daemon " in line:
            os.kill(pid, signal.SIGKILL)
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken, match="does not run"):
        await relayed.exec("sleep 1000")


async def test_a_machine_that_is_gone(over, plain):
    relayed = await over()

    async def gone(*_, **__):
        raise MachineGone("it is gone", machine="m")

    plain.open_process = gone
    await plain.cut()
    with anyio.fail_after(HANGS), pytest.raises(MachineGone):
        await relayed.exec("sleep 1000")


async def test_destroying_during_an_outage(over, plain):
    relayed = await over()
    async with plain.outage():
        with anyio.fail_after(HANGS):
            await relayed.destroy()
    with pytest.raises(MachineGone):
        await relayed.exec("true")


PROGRAM = """
import anyio, sys
from pathlib import Path
from ramure.backends.local import LocalBackend, LocalImage
from ramure.relay import RelayedMachine
from ramure.transport import Target
from ramure.transports.relay import RelayTransport
from ramure.values import Host

async def main():
    machine = await LocalBackend().provision(
        LocalImage(sys.argv[1]), Host("local"), name="p", labels={"ramure.run": "r"})
    relayed = await RelayedMachine.over(machine, lease=1)
    await RelayTransport().open(relayed, Target("/nowhere"))
    async with await relayed.open_process(sys.argv[2] + "sleep 1000"):
        await relayed.exec(sys.argv[2])
        Path("up").touch()
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_nothing_survives_a_killed_program(plain, ramure_home, workdir):
    command = [sys.executable, "-c", PROGRAM, str(workdir), BEAT]
    program = popen(command, cwd=workdir)
    state = f"{ramure_home}/runtimes/r/machines/p"
    try:
        await beating(workdir)
        with anyio.fail_after(HANGS):
            while not (workdir / "up").exists():
                await anyio.sleep(0.05)
        assert processes_with(state)
    finally:
        program.kill()
        program.wait()
    await nothing_left(state)
    await silent(workdir)
    assert names(state) == []
    await anyio.Path(state).rmdir()  # what the run's keeper does


# --- signs of life


async def test_a_link_that_is_silent_is_replaced(over, plain):
    relayed = await over(heartbeat=0.1)
    await relayed.exec("true", check=True)
    await plain.attaches[0].signal(signal.SIGSTOP)
    with anyio.fail_after(HANGS):
        assert (await relayed.exec("echo here")).stdout == "here\n"
    assert len(plain.attaches) > 1


async def test_the_lease_runs_where_nothing_is_heard(over, plain, workdir):
    relayed = await over(heartbeat=0.2, lease=1.5)
    async with await relayed.open_process(f"{BEAT} sleep 1000"):
        await beating(workdir)
        await anyio.sleep(3)  # nothing is said for longer than the lease, but that all is well
        before = beats(workdir)
        await anyio.sleep(0.3)
        assert beats(workdir) > before
        plain.broken = True
        await plain.attaches[-1].signal(signal.SIGSTOP)  # still there, but nothing comes
        await silent(workdir)
        with pytest.raises(MachineError):
            await relayed.exec("true")


async def test_a_thread_keeps_the_lease_while_the_loop_is_blocked(over, plain, workdir):
    relayed = await over(heartbeat=0.2, lease=1.5)
    async with await relayed.open_process(f"{BEAT} sleep 1000"):
        await beating(workdir)
        command, sign = relayed.relay.sign_of_life
        beat = popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        stop = threading.Event()

        def keep():
            while not stop.wait(0.2):
                beat.stdin.write(sign)
                beat.stdin.flush()

        thread = threading.Thread(target=keep)
        thread.start()
        await plain.attaches[-1].signal(signal.SIGSTOP)
        stop.wait(4)  # the loop is blocked
        before = beats(workdir)
        await anyio.sleep(0.3)
        assert beats(workdir) > before
        stop.set()
        thread.join()
        beat.stdin.close()
        beat.wait()


# --- slow links


class Slow:
    """A stream that passes on a few bytes at a time, late."""

    def __init__(self, stream, rate):
        self.stream, self.rate = stream, rate

    async def receive(self, max_bytes=65536):
        data = await self.stream.receive(random.randint(1, 5000))
        await anyio.sleep(len(data) / self.rate)
        return data

    async def send(self, item):
        for start in range(0, len(item), 3000):
            await anyio.sleep(3000 / self.rate)
            await self.stream.send(item[start : start + 3000])

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self):
        await self.stream.aclose()


async def test_a_slow_link(relayed, plain, cutting, wrapped):
    def slow(process):
        process = wrapped(process)
        process.stdin, process.stdout = Slow(process.stdin, 2e6), Slow(process.stdout, 2e6)
        return process

    plain.wrap = slow
    await plain.cut()
    data = random.randbytes(700_000)
    async with cutting(relayed, every=0.3):
        with anyio.fail_after(HANGS):
            await relayed.write_file("file", data)
            assert await relayed.read_file("file") == data
    assert len(plain.attaches) > 2


# --- where it cannot run


async def test_without_node(plain):
    with pytest.raises(RelayUnavailable, match="no Node"):
        await RelayedMachine.over(plain, node="ramure-has-no-such-node")
    assert (await plain.exec("echo plain")).stdout == "plain\n"


async def test_with_an_old_node(plain, workdir):
    (workdir / "node").write_text("#!/bin/sh\necho 'Node.js 12 is too old' >&2; exit 1\n")
    (workdir / "node").chmod(0o755)
    with pytest.raises(RelayUnavailable, match="too old"):
        await RelayedMachine.over(plain, node=str(workdir / "node"))


async def test_a_daemon_that_does_not_come_up(plain, workdir):
    (workdir / "node").write_text("#!/bin/sh\necho the reason >log\n")
    (workdir / "node").chmod(0o755)
    with anyio.fail_after(HANGS), pytest.raises(RelayUnavailable, match="the reason"):
        await RelayedMachine.over(plain, node=str(workdir / "node"))


async def test_a_cancelled_start_leaves_nothing(plain):
    for delay in (0.01, 0.05, 0.1, 0.15, 0.2, 0.3):
        with anyio.move_on_after(delay):
            await RelayedMachine.over(plain, lease=0.5)
    await nothing_left(f"{plain.state_dir}/relay-")


async def test_what_makes_no_sense_ends_it(over, plain, wrapped):
    class Babble:
        async def receive(self, max_bytes=65536):
            return b"Welcome to this machine!\n" * 100

        async def aclose(self):
            pass

        def __aiter__(self):
            return self

        __anext__ = receive

    def babbling(process):
        process = wrapped(process)
        process.stdout = Babble()
        return process

    plain.wrap = babbling
    with anyio.fail_after(HANGS), pytest.raises(RelayUnavailable, match="no sense"):
        await over()


async def test_a_loop_that_ends_without_destroying(plain):
    """The relay's own task is cancelled with the loop, and whoever waits learns of it."""

    async def main():
        relayed = await RelayedMachine.over(plain, lease=0.5)
        return asyncio.ensure_future(relayed.exec("sleep 1000")), relayed

    waiter, relayed = await main()
    await anyio.sleep(0.1)
    relayed.relay._task.cancel()
    with anyio.fail_after(HANGS), pytest.raises(LinkBroken):
        await waiter
    with suppress(asyncio.CancelledError):
        await relayed.relay._task
