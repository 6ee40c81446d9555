"""Programs with several runs, in one event loop or in threads."""

import signal
import textwrap

import pytest

from ending_programs import BOUND, KILLED


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
