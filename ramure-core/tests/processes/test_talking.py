"""What a process says and answers: events, bubbling, endpoints."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

import ramure
from ramure import (
    agent_process,
    bubble,
    current_process,
    done,
    emit,
    expose,
    fail,
    running,
    spawn,
    wait,
)

pytestmark = pytest.mark.usefixtures("ramure_home")


async def test_an_immediate_retry_by_events():
    attempts = []

    @agent_process
    async def flaky():
        attempts.append(1)
        if len(attempts) < 3:
            fail("again")
        else:
            done("at last")
        return await wait()

    @agent_process
    async def main():
        while True:
            handle = spawn(flaky)
            async for event in handle.events:
                if event.type == "done":
                    return event.data

    assert await main() == "at last"
    assert len(attempts) == 3


async def test_bubble_forwards_from_the_first_event_on_and_tags():
    @agent_process
    async def task(n):
        emit("progress", n)
        return n

    @agent_process
    async def pool():
        handles = [spawn(task, n) for n in range(3)]
        for n, handle in enumerate(handles):
            bubble(handle, source=f"t{n:04d}")
        for handle in handles:
            await handle

    @agent_process
    async def main():
        handle = spawn(pool)
        return [(e.source, e.type, e.data) async for e in handle.events]

    events = await main()
    for n in range(3):
        mine = [(kind, data) for source, kind, data in events if source == f"t{n:04d}"]
        assert mine == [("started", {"name": "task"}), ("progress", n), ("done", n)]
    assert events[-1][:2] == (None, "done")


async def test_bubble_of_bubbled_events_keeps_the_way():
    @agent_process
    async def leaf():
        emit("hello")

    @agent_process
    async def middle():
        handle = spawn(leaf)
        bubble(handle, source="leaf")
        await handle

    @agent_process
    async def main():
        handle = spawn(middle)
        bubble(handle, source="middle")
        await handle
        await asyncio.sleep(0.01)
        return [e.source async for e in _until_quiet(current_process().events) if e.type == "hello"]

    assert await main() == ["middle/leaf"]


async def _until_quiet(stream):
    for _ in range(len(stream)):
        pass
    count = 0
    async for event in stream:
        yield event
        count += 1
        if count == len(stream):
            return


@agent_process
async def pool():
    specs = {}

    @expose
    async def add_task(spec: str) -> str:
        tid = f"t{len(specs):04d}"
        specs[tid] = spec
        emit("task_added", {"task_id": tid})
        return tid

    @expose
    async def tasks() -> dict[str, str]:
        return dict(specs)

    @expose
    async def finish() -> str:
        done(sorted(specs))
        return "finished"

    @expose
    async def boom() -> None:
        raise LookupError("own error")

    emit("ready", None)
    return await wait()


async def test_endpoints():
    @agent_process
    async def main():
        handle = spawn(pool)
        assert await handle.call("add_task", spec="one") == "t0000"
        assert await handle.call("tasks") == {"t0000": "one"}
        with pytest.raises(LookupError, match="own error"):
            await handle.call("boom")
        with pytest.raises(ramure.EndpointError, match=r"no 'nix'.*add_task"):
            await handle.call("nix")
        with pytest.raises(ramure.EndpointError, match="spec"):
            await handle.call("add_task", spek=1)
        assert await handle.call("finish") == "finished"
        assert await handle == ["t0000"]
        with pytest.raises(ramure.EndpointError, match="ended"):
            await handle.call("tasks")
        return [e.type async for e in handle.events]

    assert await main() == ["started", "ready", "task_added", "done"]


async def test_an_endpoint_that_is_cancelled_from_within_harms_nobody_else():
    @agent_process
    async def pool():
        @expose
        async def broken():
            raise asyncio.CancelledError

        @expose
        async def close():
            done("closed")

        return await wait()

    @agent_process
    async def main():
        handle = spawn(pool)
        with pytest.raises(ramure.EndpointError, match="broken: it was cancelled from within"):
            await handle.call("broken")
        await handle.call("close")
        return await handle

    with anyio.fail_after(20):
        assert await main() == "closed"


async def test_a_call_of_a_process_that_failed_says_why():
    @agent_process
    async def main():
        handle = spawn(pool)
        await handle.call("tasks")
        handle._process.crash(RuntimeError("out of luck"))
        with pytest.raises(RuntimeError):
            await handle
        with pytest.raises(
            ramure.EndpointError, match="ended: RuntimeError: out of luck"
        ) as caught:
            await handle.call("tasks")
        assert isinstance(caught.value.__cause__, RuntimeError)

    await main()


async def test_an_endpoint_acts_on_its_own_process():
    @agent_process
    async def main():
        handle = spawn(pool)
        await handle.call("add_task", spec="x")
        return [e.type async for e in _until_quiet(current_process().events)]

    assert await main() == ["started"]


async def test_a_caller_that_gives_up_cancels_its_endpoint():
    cancelled = anyio.Event()

    @agent_process
    async def child():
        @expose
        async def slow():
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.set()

        await wait()

    @agent_process
    async def main():
        handle = spawn(child)
        with anyio.move_on_after(0.05):
            await handle.call("slow")
        await cancelled.wait()

    with anyio.fail_after(10):
        await main()


async def test_running_beside_other_code():
    async with running(pool) as handle:
        assert await handle.call("add_task", spec="x") == "t0000"
        await handle.call("finish")
        assert await handle == ["t0000"]
