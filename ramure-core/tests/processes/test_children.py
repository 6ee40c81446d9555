"""Processes within processes: who waits for whom, and who ends whom."""

import asyncio
import json
import warnings
from functools import partial

import anyio
import anyio.lowlevel
import pytest

import ramure
from ramure import (
    Child,
    agent_process,
    bubble,
    current_process,
    current_runtime,
    fail,
    spawn,
    supervise,
    wait,
)

pytestmark = pytest.mark.usefixtures("ramure_home")


@agent_process
async def add(a: int, b: int = 1) -> int:
    return a + b


@agent_process
async def failing(reason: str = "no luck") -> None:
    fail(reason)
    await wait()


@agent_process
async def for_ever() -> None:
    await asyncio.sleep(3600)


async def test_nested_processes_share_the_run():
    @agent_process
    async def inner():
        return current_runtime()

    @agent_process
    async def outer():
        return await inner() is current_runtime()

    assert await outer()


async def test_gather_over_processes():
    @agent_process
    async def main():
        return await asyncio.gather(add(1), add(2), add(3))

    assert await main() == [2, 3, 4]


async def test_survivors_of_a_gather_end_with_their_parent():
    ended = []

    @agent_process
    async def slow():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("slow")

    @agent_process
    async def main():
        await asyncio.gather(slow(), failing())

    with pytest.raises(ramure.ProcessFailed):
        await main()
    assert ended == ["slow"]


async def test_spawned_children_end_before_their_parent():
    order = []

    @agent_process
    async def child():
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            order.append("child")

    @agent_process
    async def main():
        handle = spawn(child)
        await handle.events.listen_for("started", replay=True)
        return handle

    handle = await main()
    order.append("parent")
    assert order == ["child", "parent"]
    assert handle.status == "cancelled"


async def test_a_handle_can_be_awaited():
    @agent_process
    async def main():
        good, bad = spawn(add, 4), spawn(failing)
        assert await good == 5
        assert await good == 5
        with pytest.raises(ramure.ProcessFailed):
            await bad
        return good.status, bad.status

    assert await main() == ("done", "failed")


async def test_spawn_takes_plain_async_functions():
    async def plain(x):
        return x

    @agent_process
    async def main():
        return await spawn(plain, "x")

    assert await main() == "x"


class Pool:
    def __init__(self, size):
        self.size = size

    @agent_process
    async def work(self, n):
        return self.size * n, current_process().name, len(current_process().parent.children)

    async def plain(self, n):
        return self.size * n


async def add_plainly(a, b):
    return a + b


async def test_methods_and_partials_are_functions_like_others():
    @agent_process
    async def main():
        pool = Pool(2)
        assert await pool.work(3) == (6, "work", 1)
        assert await spawn(pool.work, 3) == (6, "work", 1)
        assert await spawn(pool.plain, 3) == 6
        assert await spawn(partial(pool.work, 3)) == (6, "work", 1)
        assert await spawn(partial(add, 1), 2) == 3
        assert await spawn(partial(add_plainly, 1), b=2) == 3
        assert await agent_process(partial(add_plainly, 1))(2) == 3
        with pytest.raises(TypeError, match="n"):
            spawn(pool.work)
        handle = spawn(partial(add, 1), 2)
        return handle.name, await handle

    assert await main() == ("add", 3)


async def test_methods_and_partials_are_supervised():
    @agent_process
    async def main():
        children = (
            Child(partial(add, 1), (2,)),
            Child(Pool(2).plain, kwargs={"n": 3}),
            Child(Pool(2).work, (3,)),
        )
        return await supervise(*children)

    results = await main()
    assert (results["add"], results["plain"], results["work"][0]) == (3, 6, 6)


@pytest.mark.parametrize("function", [partial(add, 1), partial(add_plainly, 1)])
async def test_a_partial_may_be_the_root(function):
    async with ramure.running(function, 2) as handle:
        assert await handle == 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"port": 0}, "host=, port= or base_url="),
        ({"host": "127.0.0.1"}, "host=, port= or base_url="),
        ({"base_url": "wss://example.org/x"}, "host=, port= or base_url="),
        ({"log_dir": "logs of its own"}, "log_dir="),
    ],
)
async def test_what_concerns_the_run_is_the_roots(given, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @agent_process(**given)
    async def either(deep):
        if deep:
            return await either(deep=False), await spawn(either, deep=False)
        return current_runtime().logs

    @agent_process
    async def main():
        logs = await either(deep=False)
        assert logs == current_runtime().logs
        return logs

    await either(deep=True)
    for path in tmp_path.glob("logs of*"):
        path.rename(tmp_path / "moved")
    logs = await main()
    assert not list(tmp_path.glob("logs of*"))
    lines = [json.loads(line) for line in (logs / "_runtime.jsonl").read_text().splitlines()]
    (ignored,) = [line["data"] for line in lines if line["type"] == "options_ignored"]
    assert ignored == {"process": "1.1", "name": "either", "options": [named]}


async def test_cancel_of_a_handle():
    @agent_process
    async def main():
        handle = spawn(for_ever)
        handle.cancel()
        with pytest.raises(ramure.ProcessCancelled):
            await handle
        return [e.type async for e in handle.events]

    assert await main() == ["started", "cancelled"]


async def test_cancelling_whoever_awaits_a_handle_leaves_the_process():
    @agent_process
    async def main():
        handle = spawn(for_ever)
        with anyio.move_on_after(0.05):
            await handle
        return handle.status

    assert await main() == "running"


async def test_a_childs_failure_cancels_nobody():
    @agent_process
    async def main():
        handle = spawn(failing)
        async for event in handle.events:
            if event.type == "failed":
                assert isinstance(event.data, ramure.ProcessFailed)
        return "still here"

    assert await main() == "still here"


async def test_a_failure_that_nobody_looked_at_is_warned_about():
    @agent_process
    async def main():
        spawn(failing)
        await asyncio.sleep(0.05)

    with pytest.warns(RuntimeWarning, match="nobody looked"):
        await main()


async def test_many_children_are_forgotten():
    @agent_process
    async def main():
        for n in range(300):
            await add(n)
        return len(current_process().children)

    assert await main() == 0


async def test_a_child_that_nobody_awaits_is_told_when_it_is_cut_short():
    @agent_process
    async def main(treat):
        handle = spawn(for_ever)
        await asyncio.sleep(0.05)
        treat(handle)
        return "fine"

    def ignore(handle):
        pass

    with pytest.warns(
        RuntimeWarning, match=r"'for_ever' was still at work when 'main' returned.*await"
    ):
        assert await main(ignore) == "fine"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await main(lambda handle: handle.cancel()) == "fine"
        assert await main(bubble) == "fine"
        with pytest.raises(RuntimeWarning, match="still at work"):
            await main(ignore)


async def test_failures_that_were_looked_at_late_are_forgotten():
    @agent_process
    async def main():
        handle = spawn(failing)
        await asyncio.sleep(0.05)
        assert len(current_process().children) == 1
        with pytest.raises(ramure.ProcessFailed):
            await handle
        return len(current_process().children)

    assert await main() == 0


async def test_nothing_new_is_started_while_a_process_ends():
    @agent_process
    async def main():
        await current_process().belongings.abandon()
        with pytest.raises(ramure.NotInProcess, match=r"machine\(\): .* starts nothing new"):
            await ramure.machine()

    await main()
