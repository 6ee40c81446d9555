"""Agents whose program is played by the test itself."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from ramure import agent, agent_process, running, wait
from ramure.harness import Harness, Session
from ramure.testing.bridge import BridgeClient
from ramure.values import Ending


class Puppet(Session):
    """One incarnation: its bridge is real, its program is the test."""

    def __init__(self, spec, route):
        self.spec = spec
        self.route = route
        self.bridge = BridgeClient(route.address, agent=spec.address, token=spec.token)
        self.ended = anyio.Event()
        self.ending = Ending("it was stopped", expected=True)
        self.stopped = False

    def die(self, reason="killed by the test", screen="last words"):
        self.ending = Ending(reason, -9, screen)
        self.ended.set()

    async def wait(self):
        await self.ended.wait()
        return self.ending

    async def screen(self):
        return "the screen"

    terminal = None

    async def stop(self):
        self.stopped = True
        self.ended.set()


class Puppets(Harness):
    """Starts puppets. ``await puppets.up("name")`` gives the newest of that address."""

    name = "puppets"

    def __init__(self):
        self.started: dict[str, list[Puppet]] = {}
        self.problems = []
        self.mute = False
        self.problem = ""
        self.slow = 0.0
        self.remembers = False
        self._tasks = None
        self._news = anyio.Event()

    async def check(self, machine):
        return self.problems

    async def start(self, machine, spec, route):
        await anyio.sleep(self.slow)
        puppet = Puppet(spec, route)
        self.started.setdefault(spec.address, []).append(puppet)
        if not self.mute:
            self._tasks.start_soon(self._live, puppet)
        self._news.set()
        self._news = anyio.Event()
        return puppet

    async def _live(self, puppet):
        async with puppet.bridge:
            await puppet.bridge.ready(
                "puppet", model="m", problem=self.problem, remembers=self.remembers
            )
            await puppet.ended.wait()

    async def up(self, address, incarnation=1):
        with anyio.fail_after(20):
            while len(self.started.get(address, [])) < incarnation:
                await self._news.wait()
        return self.started[address][incarnation - 1]


@pytest.fixture
async def puppets(ramure_home):
    made = Puppets()
    async with anyio.create_task_group() as made._tasks:
        yield made
        made._tasks.cancel_scope.cancel()


@pytest.fixture
def one_agent(puppets):
    """A process with one agent ``w``, its handle, and its puppet."""

    @asynccontextmanager
    async def started(**options):
        @agent_process
        async def main():
            await agent("w", harness=puppets, **options)
            return await wait()

        async with running(main) as handle:
            await handle.events.listen_for("agent_started", replay=True, timeout=20)
            address = handle.agents["w"].address
            yield handle, handle.agents["w"], await puppets.up(address)

    return started
