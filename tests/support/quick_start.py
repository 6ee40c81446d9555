"""The program of the README's quick start, for the tests of every kind of machine."""

from collections.abc import Awaitable, Callable

from ramure import agent, done, fail, wait
from ramure.machine import Machine


async def run_task(
    spec: str,
    *,
    env: dict[str, str] | None = None,
    prepare: Callable[[Machine], Awaitable[object]] | None = None,
    machine: Callable[[], Awaitable[Machine]] | None = None,
) -> str:
    """What ``@agent_process`` makes a process of.

    ``prepare`` is given the agent's machine, which ``machine`` makes first, or the agent.
    """
    worker = await agent("worker", env=env, machine=await machine() if machine else None)
    if prepare is not None:
        await prepare(worker.machine)

    @worker.on("finish")
    async def on_finish(summary: str) -> str:
        """Call with your result when the task is done."""
        done(summary)
        return "Recorded."

    @worker.on("give_up")
    async def on_give_up(reason: str) -> str:
        """Call if you cannot complete the task."""
        fail(f"gave_up: {reason}")
        return "Recorded."

    await worker.send(f"Task:\n\n{spec}\n\nWhen done, call finish(summary).")
    return await wait()
