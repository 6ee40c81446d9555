"""Processes and threads: the program's own, and event loops in several."""

import asyncio
import contextvars
import threading

import anyio
import anyio.lowlevel
import pytest

from ramure import (
    agent_process,
    done,
    emit,
    spawn,
    wait,
)
from ramure.errors import NotInProcess, UsageError

HANGS = 30.0
"""Seconds after which something hangs."""

pytestmark = pytest.mark.usefixtures("ramure_home")


async def test_threads_of_the_program_may_call_what_is_not_async():
    @agent_process
    async def child():
        return threading.get_ident()

    @agent_process
    async def main():
        def elsewhere():
            emit("from", threading.get_ident())
            handle = spawn(child)
            done(7)
            return handle

        handle = await asyncio.to_thread(elsewhere)
        assert await handle == threading.get_ident()
        return await wait()

    with anyio.fail_after(HANGS):
        assert await main() == 7


async def test_a_thread_gets_what_the_function_raises():
    @agent_process
    async def main():
        with pytest.raises(UsageError, match="not an async function"):
            await asyncio.to_thread(spawn, len)

    with anyio.fail_after(HANGS):
        await main()


@pytest.fixture
def outliving():
    """A process that returns a thread of its own, what lets that go on, and what it is told."""
    may_go_on = threading.Event()
    told = []

    def outlive():
        may_go_on.wait(HANGS)
        try:
            done()
        except NotInProcess as error:
            told.append(str(error))

    @agent_process
    async def main():
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(outlive,))
        thread.start()
        return thread

    return main, may_go_on, told


async def test_a_thread_that_outlives_the_process_is_told(outliving):
    main, may_go_on, told = outliving
    thread = await main()
    may_go_on.set()
    with anyio.fail_after(HANGS):
        await asyncio.to_thread(thread.join)
    assert "has ended" in told[0]


def test_a_thread_that_outlives_the_event_loop_is_told(outliving):
    main, may_go_on, told = outliving
    thread = asyncio.run(main())
    may_go_on.set()
    thread.join(HANGS)
    assert "event loop" in told[0]


async def test_a_process_of_another_event_loop_is_not_touched():
    @agent_process
    async def child():
        return 1

    @agent_process
    async def main():
        with pytest.raises(NotInProcess, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(child()))

    with anyio.fail_after(HANGS):
        await main()


def test_runs_in_two_threads_at_once(ramure_home):
    @agent_process
    async def main():
        handle = spawn(inner)
        return await handle

    async def inner():
        await anyio.sleep(0.1)
        return threading.get_ident()

    results = {}

    def run():
        results[threading.get_ident()] = asyncio.run(main())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS)
    assert len(results) == 2
    assert all(here == there for here, there in results.items())
