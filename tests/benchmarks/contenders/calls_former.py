"""Tool calls of agents, and the agents' own beginning and end: ramure 0.0.3.

What starts pi there is left out, as it is elsewhere. What ends it is not: there as here, ending an
agent sees to it that nothing of it runs any more.
"""

import asyncio
import time

import ramure.runtime
from calls import measure, report, sizes
from crowd import Crowd

from ramure import agent, agent_process


@agent_process
async def crew(crowd):
    async def launch(worker, *, server_url, execution_id):
        crowd.join("former", server_url, worker.name, execution_id)
        return "no session"

    ramure.runtime._launch_agent_impl = launch

    async def make(number):
        worker = await agent(f"agent{number}")

        @worker.on("echo")
        async def echo(text: str) -> str:
            """Say it again."""
            return text

    measured = await measure(crowd, make)
    return measured, time.perf_counter()


@agent_process
async def main():
    async with Crowd() as crowd:
        measured, left = await crew(crowd)
        agents, _ = sizes()
        report({**measured, f"agent ended, {agents}": (time.perf_counter() - left) / agents})


asyncio.run(main())
