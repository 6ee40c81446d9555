"""What a process is, from its first line to its last."""

import asyncio
import time
import warnings

import anyio
import anyio.lowlevel
import pytest

import ramure
from ramure import (
    agent_process,
    current_process,
    current_runtime,
    done,
    emit,
    fail,
    running,
    spawn,
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
