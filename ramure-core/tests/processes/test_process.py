"""What a process is: results, errors, children, cancellation, time-outs."""

import asyncio
import contextvars
import threading
import time
import warnings

import anyio
import anyio.lowlevel
import pytest

import ramure
from ramure import (
    agent_process,
    bubble,
    current_process,
    current_runtime,
    done,
    emit,
    expose,
    fail,
    running,
    spawn,
    wait,
)
from ramure.errors import NotInProcess, UsageError
from ramure.scope import current

HANGS = 30.0
"""Seconds after which something hangs."""

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


async def test_a_root_returns_its_result(ramure_home):
    assert await add(1, b=2) == 3
    assert not list((ramure_home / "runtimes").iterdir()), "nothing of the run is left"
    (logs,) = (ramure_home / "logs").iterdir()
    assert (logs / "_runtime.jsonl").exists()


def test_it_runs_under_asyncio_run():
    assert asyncio.run(add(1)) == 2


async def test_decorated_with_and_without_arguments():
    @agent_process(timeout=60)
    async def configured() -> str:
        return "fine"

    assert await configured() == "fine"
    assert configured.__name__ == "configured"


async def test_wrong_arguments_are_told_before_anything_is_started(ramure_home):
    with pytest.raises(TypeError, match="missing a required argument"):
        await add()
    assert not (ramure_home / "logs").exists()


def test_only_async_functions_can_be_processes():
    with pytest.raises(ramure.UsageError, match="not an async function"):

        @agent_process
        def plain():
            pass


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_is_positive(timeout):
    with pytest.raises(ramure.UsageError, match="timeout"):
        agent_process(timeout=timeout)


async def test_exceptions_leave_as_they_are():
    @agent_process
    async def inner():
        raise KeyError("mine")

    @agent_process
    async def outer():
        await inner()

    with pytest.raises(KeyError, match="mine"):
        await inner()
    with pytest.raises(KeyError, match="mine"):
        await outer()


async def test_done_ends_wait():
    @agent_process
    async def main():
        done({"answer": 42})
        done("too late")
        return await wait()

    assert await main() == {"answer": 42}


async def test_fail_raises_a_typed_error():
    with pytest.raises(ramure.ProcessFailed) as caught:
        await failing("out of luck")
    assert caught.value.reason == "out of luck"
    assert caught.value.process == "failing"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (done, "done()"),
        (lambda: fail("x"), "fail()"),
        (lambda: emit("x"), "emit()"),
        (lambda: spawn(add, 1), "spawn(add)"),
        (current_runtime, "current_runtime()"),
    ],
)
def test_ambient_functions_need_a_process(call, name):
    with pytest.raises(ramure.NotInProcess) as caught:
        call()
    assert str(caught.value).startswith(f"{name} works only inside a process")
    assert "@agent_process" in str(caught.value)


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


async def test_a_timeout_ends_the_process_after_its_cleanup():
    cleaned = []

    @agent_process(timeout=0.05)
    async def main():
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    with pytest.raises(ramure.ProcessTimeout, match=r"main.*0\.05 s"):
        await main()
    assert cleaned


async def test_cancellation_of_the_caller_ends_the_process():
    handles, begun = [], asyncio.Event()

    @agent_process
    async def main():
        handles.append(current_process())
        begun.set()
        await asyncio.sleep(3600)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(main)
            await begun.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert handles[0].status == "cancelled"


async def test_native_cancellation_twice_still_cleans_up(ramure_home):
    begun, cleaned = asyncio.Event(), []

    @agent_process
    async def child():
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.1)
            cleaned.append(True)

    @agent_process
    async def main():
        await child()

    task = asyncio.create_task(main())
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned
    assert not list((ramure_home / "runtimes").iterdir())


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


async def test_leaving_running_cancels(ramure_home):
    async with running(for_ever) as handle:
        await handle.events.listen_for("started", replay=True)
    assert handle.status == "cancelled"
    assert not list((ramure_home / "runtimes").iterdir())


async def test_running_gives_the_failure_to_the_handle():
    async with running(failing) as handle:
        with pytest.raises(ramure.ProcessFailed):
            await handle


async def test_running_tells_what_kept_it_from_starting():
    @agent_process(image="/no/such/folder")
    async def main():
        pass

    with pytest.raises(ramure.PlacementError):
        async with running(main):
            pass


async def test_a_process_that_has_ended_starts_nothing():
    late = []

    @agent_process
    async def main():
        async def orphan():
            await asyncio.sleep(0.1)
            try:
                await add(1)
            except ramure.UsageError as error:
                late.append(error)

        task = asyncio.create_task(orphan())
        late.append(task)

    await main()
    await late[0]
    assert isinstance(late[1], ramure.NotInProcess)
    assert str(late[1]).startswith("add(): the process 'main' has ended")


async def test_a_wait_that_nothing_can_end_fails():
    @agent_process(idle_timeout=0.3)
    async def main():
        await wait()

    with anyio.fail_after(20), pytest.raises(ramure.AgentIdle, match="nothing can call them"):
        await main()


async def test_a_wait_with_a_child_at_work_is_not_idle():
    @agent_process
    async def worker():
        await asyncio.sleep(1.0)

    @agent_process(idle_timeout=0.2)
    async def main():
        handle = spawn(worker)

        async def finish():
            await handle
            done("ok")

        task = asyncio.create_task(finish())
        result = await wait()
        await task
        return result

    assert await main() == "ok"


def test_under_another_loop_the_first_call_says_so():
    trio = pytest.importorskip("trio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ramure.UsageError, match="asyncio"):
            trio.run(add, 1)


async def test_many_children_are_forgotten():
    @agent_process
    async def main():
        for n in range(300):
            await add(n)
        return len(current_process().children)

    assert await main() == 0


async def test_the_log_holds_every_event(ramure_home):
    @agent_process
    async def main():
        emit("custom", {"n": 1})

    await main()
    (log,) = (ramure_home / "logs").glob("*/_runtime.jsonl")
    text = log.read_text()
    assert '"custom"' in text
    assert '"done"' in text


async def test_log_dir_moves_the_log(tmp_path):
    @agent_process(log_dir=tmp_path / "here")
    async def main():
        pass

    await main()
    assert (tmp_path / "here" / "_runtime.jsonl").exists()


async def test_execution_ids_sort_by_time():
    from ramure.run.runtime import new_execution_id

    first = new_execution_id()
    time.sleep(1.1)  # noqa: ASYNC251 the ids count seconds
    assert new_execution_id() > first
    assert len(first) == 10


async def test_where_warnings_are_errors_an_unseen_failure_is_one():
    @agent_process
    async def main():
        spawn(failing)
        await asyncio.sleep(0.05)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="nobody looked"):
            await main()


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


# --- threads


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


async def test_a_thread_that_outlives_the_process_is_told():
    ended = threading.Event()
    told = []

    def outlive():
        ended.wait(HANGS)
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

    thread = await main()
    ended.set()
    with anyio.fail_after(HANGS):
        await asyncio.to_thread(thread.join)
    assert "has ended" in told[0]


def test_a_thread_that_outlives_the_event_loop_is_told():
    ended = threading.Event()
    told = []

    def outlive():
        ended.wait(HANGS)
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

    thread = asyncio.run(main())
    ended.set()
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


# --- several waits, and what must end the program


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
