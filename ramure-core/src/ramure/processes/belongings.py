"""What one process owns: its agents and machines, made and removed to the end."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from ramure.agents.agent import Agent
from ramure.cancellation import Job, finish, outlast
from ramure.errors import InvalidName, NotInProcess
from ramure.machine import Machine
from ramure.placement import Placement
from ramure.processes.requests import AgentOrder

if TYPE_CHECKING:
    from ramure.processes.process import Process

T = TypeVar("T")


class Belongings:
    """The agents and machines of a process.

    What is being made runs as a task of the process, not of whoever asked for it: cancelled in the
    middle, by the caller or by the process's end, nothing of it stays.

    Attributes:
        agents: by name; an ended one stays until another takes its name.
        machines: those that are removed with the process.
    """

    def __init__(self, process: Process) -> None:
        self.agents: dict[str, Agent] = {}
        self.machines: list[Machine] = []
        self._process = process
        self._runtime = process.runtime
        self._reserved: set[str] = set()
        self._creations: set[Job[Any]] = set()
        self._abandoned = False

    # --- making

    async def make_machine(self, placement: Placement, tasks: TaskGroup) -> Machine:
        """Make a machine, by way of ``tasks``."""

        async def make() -> Machine:
            machine = await self._runtime.provision(placement)
            self.machines.append(machine)
            return machine

        return await self._own("machine()", make, self._remove_machine, tasks)

    async def make_agent(self, name: str, order: AgentOrder, tasks: TaskGroup) -> Agent:
        """Start an agent, by way of ``tasks``.

        Raises:
            InvalidName: there is a live agent of this name, or one is being started.
        """
        taken = self.agents.get(name)
        if name in self._reserved or (taken is not None and taken.status != "ended"):
            owner = self._process.name
            raise InvalidName(f"agent {name!r}: {owner!r} has an agent of this name already")
        self._reserved.add(name)
        try:
            return await self._own(
                "agent()",
                lambda: self._make_agent(name, order),
                lambda agent: self._remove_agent(agent, order),
                tasks,
            )
        finally:
            self._reserved.discard(name)

    async def _own(
        self,
        what: str,
        make: Callable[[], Awaitable[T]],
        undo: Callable[[T], Awaitable[object]],
        tasks: TaskGroup,
    ) -> T:
        if self._abandoned:
            ending = self._process.name
            raise NotInProcess(f"{what}: the process {ending!r} is ending and starts nothing new")
        creation = Job(make)
        self._creations.add(creation)
        tasks.start_soon(creation.run)
        try:
            await outlast(creation.done, creation.cancel)
        except CancelledError:
            if creation.made:
                await finish(self._runtime.tasks, undo, creation.made[0])
            raise
        finally:
            self._creations.discard(creation)
        return creation.outcome()

    async def _make_agent(self, name: str, order: AgentOrder) -> Agent:
        machine = order.machine or await self._runtime.provision(
            order.placement, tools=order.harness.tools
        )
        try:
            agent = Agent(
                name,
                scope=self._process,
                runtime=self._runtime,
                machine=machine,
                harness=order.harness,
                settings=order.settings,
            )
            await agent.start()
        except BaseException:
            if order.machine is None:
                await self._runtime.remove(machine)
            raise
        if order.machine is None:
            self.machines.append(machine)
        self.agents[name] = agent
        self._process.emit("agent_started", {"agent": name, "address": agent.address})
        return agent

    # --- removing

    async def _remove_machine(self, machine: Machine) -> None:
        if machine in self.machines:
            self.machines.remove(machine)
            await self._runtime.remove(machine)

    async def _remove_agent(self, agent: Agent, order: AgentOrder) -> None:
        if self.agents.get(agent.name) is agent:
            del self.agents[agent.name]
        await agent.stop()
        if order.machine is None:
            await self._remove_machine(agent.machine)

    async def abandon(self) -> None:
        """Make nothing more: cancel what is being made, and wait for its end."""
        self._abandoned = True
        creations = list(self._creations)
        for creation in creations:
            creation.cancel()
        for creation in creations:
            await creation.done.wait()

    async def remove(self) -> None:
        """Stop all agents, then remove all machines."""
        async with anyio.create_task_group() as stops:
            for agent in self.agents.values():
                stops.start_soon(agent.stop)
        async with anyio.create_task_group() as removals:
            for machine in self.machines:
                removals.start_soon(self._runtime.remove, machine)

    # --- looking after them

    @property
    def busy(self) -> bool:
        """True while something is being made."""
        return bool(self._creations)

    @property
    def live_agents(self) -> list[Agent]:
        """The agents that have not ended."""
        return [agent for agent in self.agents.values() if agent.status != "ended"]
