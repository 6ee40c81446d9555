"""However a program ends, it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ramure.run import sweep
from ramure.run.runtime import LEASE_HERE as LEASE

HANGS = 60.0
"""Seconds after which something hangs."""

BOUND = 5.0
"""Seconds in which a program that is told to end has left nothing."""

KILLED = 10.0
"""Seconds in which nothing is left of a program that was killed."""

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


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("return 1", None),
        ("raise KeyError('x')", "KeyError"),
        ("fail('no'); await wait()", "ProcessFailed"),
        ("done(1); await wait()", None),
    ],
)
def test_a_program_that_ends_by_itself(start, then, said):
    program = start(AT_WORK.format(then=then))
    program.hear("up")
    if said:
        program.hear(said)
    assert program.end()[0] == 0
    assert not program.files()
    program.wait_clean(BOUND)


def test_a_time_out(start):
    source = AT_WORK.replace("@agent_process", "@agent_process(timeout=2)")
    program = start(source.format(then="await asyncio.sleep(3600)"))
    program.hear("ProcessTimeout")
    program.end()
    program.wait_clean(BOUND)


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], -signal.SIGTERM),
        ([signal.SIGHUP], -signal.SIGHUP),
        ([signal.SIGINT], -signal.SIGINT),
        ([signal.SIGINT, signal.SIGINT], -signal.SIGINT),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], None),
        ([signal.SIGTERM, signal.SIGTERM], None),
    ],
    ids=lambda v: "-".join(s.name for s in v) if isinstance(v, list) else "",
)
def test_a_program_that_is_told_to_end(start, signals, code):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    for number in signals:
        program.signal(number)
        time.sleep(0.02)
    got, errors = program.end()
    program.wait_clean(BOUND)
    if code is not None:
        assert got == code, errors
    assert "ExceptionGroup" not in errors


def test_a_second_ctrl_c_leaves_no_time_to_finish(start):
    program = start("""
        @agent_process
        async def child():
            try:
                await asyncio.sleep(3600)
            finally:
                say("ending")
                while True:  # for ever, were it cancelled only once
                    await asyncio.sleep(3600)

        @agent_process
        async def main():
            spawn(child)
            say("up")
            await wait()

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("interrupted")
        """)
    program.hear("up")
    program.signal(signal.SIGINT)
    program.hear("ending")
    program.signal(signal.SIGINT)
    program.hear("interrupted")
    program.end()
    program.wait_clean(BOUND)


def test_ctrl_c_where_the_program_runs_the_loop_by_itself(start):
    asyncios = "asyncio.new_event_loop().run_until_complete(main())"
    source = AT_WORK.replace("asyncio.run(main())", asyncios)
    program = start(source.format(then="await wait()"))
    program.hear("up")
    program.signal(signal.SIGINT)
    program.wait_clean(BOUND)
    # What the interrupted loop has not told of its end, Python waits for: until the next one.
    deadline = time.monotonic() + HANGS
    while program.process.poll() is None and time.monotonic() < deadline:
        program.signal(signal.SIGINT)
        time.sleep(0.2)
    assert "KeyboardInterrupt" in program.end()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_in_several_threads(start, number):
    program = start("""
        import threading

        @agent_process
        async def main():
            await agent("a", harness=harness)
            say("up")
            await wait()

        threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
        for thread in threads:
            thread.start()
        asyncio.run(main())
        """)
    for _ in range(3):
        program.hear("up")
    program.signal(number)
    got, errors = program.end()
    program.wait_clean(BOUND)
    assert got == -number, errors


@pytest.mark.parametrize("stage", ["machine", "agent"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_while_something_is_being_made(start, stage, number):
    program = start(
        f"""
        from ramure.backends.local import LocalBackend

        provision, launch = LocalBackend.provision, ScriptedHarness.start

        async def slow_provision(self, *args, **kwargs):
            made = await provision(self, *args, **kwargs)
            if "{stage}" == "machine":
                say("making")
                await asyncio.sleep(1)
            return made

        async def slow_launch(self, *args, **kwargs):
            made = await launch(self, *args, **kwargs)
            say("making")
            await asyncio.sleep(1)
            return made

        LocalBackend.provision = slow_provision
        ScriptedHarness.start = slow_launch

        @agent_process
        async def main():
            await agent("a", harness=harness)
            await wait()

        asyncio.run(main())
        """
    )
    program.hear("making")
    program.signal(number)
    program.end()
    program.wait_clean(KILLED)


def test_cancelled_at_any_await(start):
    """Whatever moment a cancellation comes at, nothing is left when it has been through."""
    program = start(
        """
        @agent_process
        async def main():
            await asyncio.gather(agent("a", harness=harness), machine())
            await wait()

        async def cancelled_after(seconds):
            task = asyncio.create_task(main())
            await asyncio.sleep(seconds)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            try:
                await task
            except asyncio.CancelledError:
                pass
            runtimes = os.environ["RAMURE_HOME"] + "/runtimes"
            left = os.path.isdir(runtimes) and os.listdir(runtimes)
            assert not left, (seconds, left)

        async def program():
            for n in range(40):
                await cancelled_after(n * 0.01)

        asyncio.run(program())
        say("through")
        """
    )
    program.hear("through")
    code, errors = program.end()
    assert code == 0, errors
    program.wait_clean(BOUND)


def test_kill_9(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    deadline = time.monotonic() + KILLED
    while len(program.processes()) < 5:  # keeper, two agents, two sleepers
        assert time.monotonic() < deadline, program.processes()
        time.sleep(0.05)
    program.signal(signal.SIGKILL)
    program.end()
    program.wait_clean(KILLED)


def _keeper_of(program):
    (keeper,) = [pid for pid, title in program.processes().items() if "keeper.py" in title]
    return keeper


def _run_another(program):
    source = "import asyncio, ramure\n@ramure.agent_process\nasync def main():\n"
    source += "    await asyncio.sleep(2)\nasyncio.run(main())\n"
    environment = {k: v for k, v in program.environment.items() if k != "RAMURE_ENDING"}
    subprocess.run([sys.executable, "-c", source], env=environment, check=True, timeout=60)


@pytest.mark.parametrize("by", ["gc", "next run"])
def test_kill_9_of_the_program_and_its_keeper(start, by):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    os.kill(_keeper_of(program), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    program.end()
    assert program.files()
    if by == "gc":
        assert program.command("gc").returncode == 0
    else:
        _run_another(program)
    program.wait_clean(KILLED)


def test_a_live_run_is_never_touched(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    before = program.processes().keys()
    assert program.command("gc").returncode == 0
    assert program.command("ls").returncode == 0
    assert program.processes().keys() >= before
    assert program.process.poll() is None
    program.signal(signal.SIGTERM)
    program.end()
    program.wait_clean(BOUND)


def test_a_run_whose_keeper_was_killed_cleans_up_by_itself(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    os.kill(_keeper_of(program), signal.SIGKILL)
    program.signal(signal.SIGTERM)
    code, errors = program.end()
    assert code == -signal.SIGTERM, errors
    program.wait_clean(BOUND)


def test_a_stopped_program_is_not_dead(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    before = program.processes().keys()
    program.signal(signal.SIGSTOP)
    time.sleep(12)  # longer than the lease of agents on this computer
    assert program.command("gc").returncode == 0
    assert program.processes().keys() >= before
    program.signal(signal.SIGCONT)
    program.signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    program.wait_clean(BOUND)


def test_two_runs_in_one_program(start):
    program = start(
        """
        @agent_process
        async def one(name):
            await agent(name, harness=harness)
            say(name)
            await wait()

        async def both():
            await asyncio.gather(one("first"), one("second"))

        asyncio.run(both())
        """
    )
    program.hear("first")
    program.signal(signal.SIGTERM)
    program.end()
    program.wait_clean(KILLED)


def test_a_run_that_is_starting_is_not_taken_for_dead(tmp_path):
    """Its lock gets its name only when it is held."""
    seen = []
    rename = Path.rename

    def watched(self, target):
        seen.append(sweep.is_alive(self.parent) or not (self.parent / sweep.LOCK).exists())
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", watched)
        with sweep.new_lock(tmp_path):
            assert sweep.is_alive(tmp_path)
    assert seen == [True]
    assert not sweep.is_alive(tmp_path)


def test_sys_exit_in_a_body(start):
    program = start(AT_WORK.format(then="sys.exit(3)"))
    program.hear("up")
    code, errors = program.end()
    assert (code, errors) == (3, "")
    program.wait_clean(BOUND)


def test_a_forked_child_is_not_the_program(start):
    """Ending it ends nothing else, and with it alive the program's death is noticed."""
    then = """
    import multiprocessing, time
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=time.sleep, args=(20,)) for _ in range(2)]
    for child in children:
        child.start()
    children[0].terminate()
    await asyncio.to_thread(children[0].join)
    say("terminated")
    await wait()
    """
    program = start(AT_WORK.format(then=textwrap.dedent(then).strip().replace("\n", "\n    ")))
    program.hear("terminated")
    assert program.process.poll() is None
    program.signal(signal.SIGKILL)
    program.process.wait()
    deadline = time.monotonic() + KILLED
    while program.files():
        assert time.monotonic() < deadline, program.files()
        time.sleep(0.1)
    for pid in program.processes():  # the child that goes on, and the keeper on its way out
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    program.end()


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


@pytest.mark.pi
@pytest.mark.parametrize("by", ["gc", "next run"])
def test_kill_9_of_everything_leaves_nothing_that_is_not_found(start, pi, by):
    """Sockets in the short folder, too, which only tmux knew of."""
    program = start(WITH_PI)
    program.hear("up")
    os.kill(_keeper_of(program), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    while left := program.processes():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    program.end()
    assert any("tmux" in path or "/ramure/" in path for path in program.files())
    if by == "gc":
        assert program.command("gc").returncode == 0
    else:
        _run_another(program)
    program.wait_clean(KILLED)


@pytest.mark.pi
@pytest.mark.parametrize("hangs", [False, True], ids=["works", "hangs"])
def test_kill_9_of_the_program_and_its_keeper_leaves_no_pi(start, pi, hangs):
    """Before any other run, or ``gc``: within the lease and some seconds nothing runs there."""
    program = start(WITH_PI)
    pids = program.hear("up")
    if hangs:
        for pid in pids:
            os.kill(int(pid), signal.SIGSTOP)
    os.kill(_keeper_of(program), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    program.end()
    deadline = time.monotonic() + LEASE + 4 * KILLED
    while program.processes() or program.listening():
        assert time.monotonic() < deadline, (program.processes(), program.listening())
        time.sleep(0.1)
    assert program.command("gc").returncode == 0
    assert not program.files()


IN_THREADS = """
import threading

@agent_process
async def one(name, then):
    await agent(name, harness=harness)
    say(name)
    try:
        await then()
    finally:
        say(name + " ends")

def run(name, then):
    try:
        asyncio.run(one(name, then))
    except Exception as error:
        say(type(error).__name__)

def thread(name, then):
    made = threading.Thread(target=run, args=(name, then))
    made.start()
    return made

async def soon():
    await asyncio.sleep(0.2)
"""


def test_a_root_in_a_thread_is_cleaned_up_after_by_its_keeper(start):
    """Python handles signals in its main thread alone: there is nobody to cancel the root."""
    program = start(IN_THREADS + 'thread("a", wait).join()')
    program.hear("a")
    program.signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    program.wait_clean(KILLED)


def test_roots_in_several_threads(start):
    then = """
    others = [thread(name, soon) for name in ("a", "b")]
    run("main", soon)
    others.append(thread("c", soon))
    for other in others:
        other.join()
    say("through")
    """
    program = start(IN_THREADS + textwrap.dedent(then))
    said = program.hear("through")
    assert sorted(said) == sorted(f"{n}{w}" for n in ("a", "b", "c", "main") for w in ("", " ends"))
    assert program.end() == (0, "")
    program.wait_clean(BOUND)


@pytest.mark.parametrize("first", ["main", "other"])
@pytest.mark.parametrize("last", ["main", "other"])
def test_a_signal_ends_the_roots_of_all_threads_beside_one_in_the_main_thread(start, first, last):
    then = """
    up = threading.Event()

    async def quickly():
        up.set()
        await wait()

    async def slowly():
        up.set()
        try:
            await wait()
        finally:
            await asyncio.sleep(1)

    how = {"main": quickly, "other": quickly, LAST: slowly}

    async def main_first():
        others.append(thread("other", how["other"]))
        await how["main"]()

    others = []
    if FIRST == "main":
        run("main", main_first)
    else:
        others.append(thread("other", how["other"]))
        up.wait()
        run("main", how["main"])
    others[0].join()
    """
    then = textwrap.dedent(then).replace("FIRST", repr(first)).replace("LAST", repr(last))
    program = start(IN_THREADS + then)
    for _ in range(2):
        program.hear("main", "other")
    program.signal(signal.SIGTERM)
    said = program.process.stdout.read().split()
    assert {word for word in said if word != "ProcessCancelled"} == {"main", "other", "ends"}
    assert program.end()[0] == -signal.SIGTERM
    program.wait_clean(BOUND)


def test_a_root_in_a_thread_may_outlast_the_one_in_the_main_thread(start):
    then = """
    up, over = threading.Event(), threading.Event()

    async def later():
        up.set()
        await asyncio.to_thread(over.wait)

    others = []

    async def begin():
        others.append(thread("other", later))
        await asyncio.to_thread(up.wait)

    run("main", begin)
    over.set()
    others[0].join()
    say("through")
    """
    program = start(IN_THREADS + textwrap.dedent(then))
    assert program.hear("through") == ["main", "other", "main ends", "other ends"]
    assert program.end() == (0, "")
    program.wait_clean(BOUND)


CLOSED_AT_ONCE = """
@ramure.agent_process
async def child():
    await agent("w", harness=ScriptedHarness(["x"]))
    await wait()

@ramure.agent_process
async def main():
    spawn(child)
    await child()

async def closed():
    root = asyncio.create_task(main())
    for _ in range(STEPS):
        await asyncio.sleep(0)
    # The event loop is closed over it, and cancels its tasks, whichever have begun.

asyncio.run(closed())
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 10, 40])
def test_a_loop_that_is_closed_over_a_starting_run(start, steps):
    program = start(CLOSED_AT_ONCE.replace("STEPS", str(steps)))
    code, errors = program.end()
    assert code == 0, errors
    assert "never retrieved" not in errors
    assert "unhandled exception" not in errors
    program.wait_clean(10)
