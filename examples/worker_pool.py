# /// script
# requires-python = ">=3.11"
# dependencies = ["ramure>=0.1"]
# ///
"""A worker pool, an agent that runs it, and a supervisor that has failed tasks done again.

The pool is a process with three endpoints, and knows nothing of who calls them. They are tools of
the monitor, an agent that turns a goal into tasks and what comes of them into a report. The
supervisor, which is plain Python, follows the pool's events: whatever failed it starts again, and
the monitor hears of what has ended for good.

    uv run worker_pool.py "Three haikus about git, each about another command." --workers 2
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

from ramure import (
    Event,
    ProcessHandle,
    RamureError,
    agent,
    agent_process,
    bubble,
    done,
    emit,
    expose,
    fail,
    spawn,
    wait,
)

MONITOR = """\
You run a pool of workers. You are given a goal. Split it into tasks that do not need each other,
and add each with pool_add_task(spec); a worker sees its spec and nothing else. pool_tasks() tells
how they are. You are told when a task has ended for good: until then, end your turn and wait. When
all have ended, call pool_close(report) with a report of what was reached.
"""


@agent_process(timeout=1800)
async def do_task(spec: str, room: asyncio.Semaphore) -> str:
    """One worker does one task, once there is room for it."""
    async with room:
        worker = await agent("worker", nudge="Call finish, or give_up.")

        @worker.on("finish")
        async def finish(result: str) -> str:
            """Call with the result when the task is done."""
            done(result)
            return "Recorded."

        @worker.on("give_up")
        async def give_up(reason: str) -> str:
            """Call if the task cannot be done."""
            fail(reason)
            return "Recorded."

        await worker.send(f"{spec}\n\nWhen done, call finish(result); else give_up(reason).")
        result: str = await wait()
        return result


@agent_process
async def pool(workers: int) -> str:
    """Do the tasks that are added, so many at a time, until it is closed; give the report."""
    room = asyncio.Semaphore(workers)
    specs: dict[str, str] = {}
    running: dict[str, ProcessHandle[str]] = {}

    def start(task_id: str) -> None:
        running[task_id] = spawn(do_task, specs[task_id], room)
        bubble(running[task_id], source=task_id)

    @expose
    async def add_task(spec: str) -> str:
        """Have a task done; gives its id."""
        task_id = f"t{len(specs) + 1:04d}"
        specs[task_id] = spec
        emit("task_added", {"task": task_id, "spec": spec})
        start(task_id)
        return task_id

    @expose
    async def retry(task_id: str) -> None:
        """Have a task that failed done again, by a new worker."""
        start(task_id)

    @expose
    async def tasks() -> dict[str, str]:
        """Every task's id, and how it is."""
        return {task_id: handle.status for task_id, handle in running.items()}

    @expose
    async def close(report: str) -> str:
        """Close the pool, once all tasks have ended, with a report of what was reached."""
        if busy := [name for name, it in running.items() if it.status in ("starting", "running")]:
            return f"Not yet: {', '.join(busy)} still at work."
        done(report)
        return "Closed."

    emit("ready")
    report: str = await wait()
    return report


@agent_process
async def supervise_pool(goal: str, workers: int, tries: int) -> str:
    """Run a pool for a goal: the monitor decides what is done, this that it is done."""
    handle = spawn(pool, workers)
    monitor = await agent("monitor", system_prompt=MONITOR)
    await handle.attach(monitor, prefix="pool_", only=["add_task", "tasks", "close"])
    await monitor.send(goal)
    failures: Counter[str] = Counter()
    async for event in handle.events:
        tell(event)
        if not event.source or event.type not in ("done", "failed"):
            continue
        if event.type == "done":
            await monitor.send(f"{event.source} is done: {event.data}")
            continue
        failures[event.source] += 1
        if failures[event.source] < tries:
            await handle.call("retry", task_id=event.source)
        else:
            await monitor.send(f"{event.source} failed {tries} times, at last with: {event.data}")
    return await handle


def tell(event: Event) -> None:
    """Show the person what happens."""
    if event.type == "task_added":
        print(f"{event.data['task']} added: {event.data['spec']}", flush=True)
    elif event.source and event.type in ("started", "done", "failed"):
        print(f"{event.source} {event.type}", flush=True)


def main() -> int:
    """Read the command line, run the pool, print the report."""
    parser = argparse.ArgumentParser(description="Let a pool of agents reach a goal.")
    parser.add_argument("goal")
    parser.add_argument("--workers", type=int, default=3, help="so many work at a time")
    parser.add_argument("--tries", type=int, default=3, help="so often a task is tried")
    given = parser.parse_args()
    try:
        report = asyncio.run(supervise_pool(given.goal, given.workers, given.tries))
    except RamureError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"\n{report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
