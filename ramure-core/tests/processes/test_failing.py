"""Several waits, and what must end the program."""

import asyncio
import contextvars

import anyio
import anyio.lowlevel
import pytest

from ramure import (
    agent_process,
    done,
    expose,
    spawn,
    wait,
)
from ramure.scope import current

HANGS = 30.0
"""Seconds after which something hangs."""

pytestmark = pytest.mark.usefixtures("ramure_home")


async def test_all_that_wait_learn_of_a_failure():
    @agent_process
    async def main():
        async def fails():
            raise KeyError("lost")

        async def waiting():
            try:
                await wait()
            except KeyError as error:
                heard.append(error)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(waiting()) for _ in range(3)]
            await anyio.lowlevel.checkpoint()
            current.get().crash(KeyError("lost"))
            await asyncio.wait(tasks)
        done("on")
        return await wait()

    heard = []
    with anyio.fail_after(HANGS):
        assert await main() == "on"
    assert len(heard) == 3


async def test_a_failure_goes_to_nobody_who_has_given_up():
    @agent_process
    async def main():
        waiting = asyncio.ensure_future(wait())
        await anyio.lowlevel.checkpoint()
        waiting.cancel()
        current.get().crash(KeyError("lost"))
        await anyio.sleep(HANGS)

    with anyio.fail_after(HANGS), pytest.raises(KeyError):
        await main()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["endpoint", "handler", "child", "gathered"])
def test_what_must_end_the_program_ends_it_from_anywhere(where, error, ramure_home):
    async def ends():
        raise error(3)

    @agent_process
    async def child():
        await ends()

    @agent_process
    async def main():
        if where == "endpoint":
            handle = spawn(pool)
            await handle.call("leave")
        elif where == "handler":
            current.get().start(ends, contextvars.copy_context())
        elif where == "child":
            await spawn(child)
        else:
            await asyncio.gather(child(), child())
        await wait()

    @agent_process
    async def pool():
        @expose
        async def leave():
            await ends()

        await wait()

    async def bounded():
        async with asyncio.timeout(HANGS):
            await main()

    with pytest.raises(error) as raised:
        asyncio.run(bounded())
    assert raised.value.args == (3,)
    assert not list(ramure_home.glob("runtimes/*"))
