"""Tool calls of agents, and the agents' own beginning and end: this project."""

import asyncio
import time

from calls import measure, report, sizes
from crowd import Crowd

from ramure import Harness, Session, agent, agent_process
from ramure.values import Ending


class Member(Session):
    """An agent of the crowd, which needs no ending."""

    terminal = None

    def __init__(self):
        self.stopped = asyncio.Event()

    async def wait(self):
        await self.stopped.wait()
        return Ending("it was stopped", expected=True)

    async def screen(self):
        return ""

    async def stop(self):
        self.stopped.set()


class CrowdHarness(Harness):
    """Starts nothing: an agent of the crowd connects."""

    name = "crowd"

    def __init__(self, crowd):
        self.crowd = crowd

    async def check(self, machine):
        return []

    async def start(self, machine, spec, route):
        self.crowd.join("ramure", route.address, spec.address, spec.token)
        return Member()


@agent_process
async def crew(crowd):
    harness = CrowdHarness(crowd)

    async def make(number):
        worker = await agent(f"agent{number}", harness=harness)

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
