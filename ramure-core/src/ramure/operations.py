"""What a person can do with a live run: the methods of its control socket.

Each takes JSON by name and gives JSON; ``docs/reference/cli.md`` describes them. They act on the
processes as they are now; an agent is found by its address, or by the beginning of it where that
fits only one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ramure.agents.agent import Agent
from ramure.errors import EndpointError, MachineError, NoSuchAgent, NoTerminal, UsageError
from ramure.machine import Machine
from ramure.processes.process import Process
from ramure.run.piped import serve_command
from ramure.run.rpc import Frames, Method, Upgrade
from ramure.run.terminal import pty_size, serve_terminal
from ramure.tools.result import jsonable, text_of
from ramure.values import Json, Terminal

SHELL = 'exec "${SHELL:-/bin/sh}" -l'
"""What ``ramure ssh`` runs: the login shell of whoever the machine's user is."""


def operations(root: Process) -> dict[str, Method]:
    """The methods of a run, by name."""
    operator = Operator(root)
    return {
        "about": operator.about,
        "status": operator.status,
        "agents": operator.agents,
        "send": operator.send,
        "call": operator.call,
        "terminal_info": operator.terminal_info,
        "terminal": operator.terminal,
        "shell": operator.shell,
        "stop": operator.stop,
    }


class Operator:
    """A person's hands on one run."""

    def __init__(self, root: Process) -> None:
        self._root = root
        self._runtime = root.runtime

    # --- looking

    async def about(self) -> dict[str, Json]:
        """Which run this is."""
        from ramure import __version__

        return {
            "id": self._runtime.id,
            "name": self._runtime.name,
            "status": self._root.status,
            "started": self._runtime.started,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "logs": str(self._runtime.logs),
            "agents": len(self._agents()),
            "version": __version__,
        }

    async def status(self) -> dict[str, Json]:
        """The tree of processes with all they own, the machines, and what was used."""
        usage = self._runtime.usage
        return {
            "run": await self.about(),
            "process": self._root.describe(),
            "machines": [self._describe_machine(m) for _, m in self._machines().values()],
            "waiting": [wait.describe() for wait in self._runtime.waits.values()],
            "usage": {
                "tokens": {"input": usage.input, "output": usage.output},
                "cost": usage.cost,
            },
        }

    async def agents(self) -> list[Json]:
        """The agents, each with the process that owns it."""
        return [
            {**agent.describe(), "process": process.id}
            for process, agent in self._agents().values()
        ]

    def _describe_machine(self, machine: Machine) -> dict[str, Json]:
        tenancy = self._runtime.tenancies[machine.name]
        return {
            "name": machine.name,
            "backend": machine.ref.backend,
            "host": str(tenancy.host),
            "workdir": machine.workdir,
            "here": machine.here,
            "agents": [a.address for _, a in self._agents().values() if a.machine is machine],
        }

    # --- doing

    async def send(self, agent: str, message: str) -> dict[str, Json]:
        """Send a message to an agent; answers once its program holds it."""
        _, found = self._agent(agent)
        await found.send(message)
        return {"agent": found.address}

    async def call(
        self, endpoint: str, arguments: Mapping[str, Any] | None = None, process: str | None = None
    ) -> Json:
        """Call an endpoint of the process of this id or name, or of the only one that has it."""
        from ramure.processes.handle import ProcessHandle

        handle = ProcessHandle[Any](self._exposing(endpoint, process))
        value = await handle.call(endpoint, **(arguments or {}))
        answer: Json = jsonable(value, "value").get("value", text_of(value))
        return answer

    async def stop(self) -> dict[str, Json]:
        """Cancel the root process; answers at once, the run ends after its cleanup."""
        self._root.cancel()
        return {"id": self._runtime.id}

    # --- terminals

    async def terminal_info(self, agent: str) -> Upgrade:
        """How to see an agent's terminal.

        Where its machine is this computer, that is a command to run. As long as the connection
        stays open, the agent's process counts as attended; to a frame ``left`` the run says what
        has become of the program that was there to be seen.
        """
        process, found, seen = self._seen(agent)
        incarnation = found.incarnation
        info: dict[str, Json] = {"agent": found.address, "here": found.machine.here}
        if found.machine.here:
            info |= {"argv": list(seen.command), "env": dict(seen.env)}

        async def attend(frames: Frames) -> None:
            with process.attended():
                while (frame := await frames.receive()) is not None:
                    if frame.get("left"):
                        await frames.send(_fate(process, found, incarnation))

        return Upgrade(info, attend)

    async def terminal(self, agent: str, **screen: Any) -> Upgrade:
        """Open an agent's own terminal through the run, wherever its machine is."""
        process, found, seen = self._seen(agent)
        return _open(process, found.machine, seen.command, env=seen.env, **screen)

    async def shell(
        self,
        agent: str | None = None,
        machine: str | None = None,
        command: list[str] | None = None,
        *,
        pty: bool = True,
        **screen: Any,
    ) -> Upgrade:
        """Open a shell, or run a command, on an agent's machine or on any machine of the run.

        Without ``pty`` the command has pipes, as ``ramure.run.piped`` describes.
        """
        cwd = None
        if agent is not None:
            process, found = self._agent(agent)
            place, cwd = found.machine, found.settings.cwd
        elif machine is not None:
            process, place = self._machine(machine)
        else:
            raise UsageError("shell: name an agent or a machine")
        argv = command or ["/bin/sh", "-c", SHELL]
        if not pty:
            return _run(process, place, argv, cwd=cwd)
        return _open(process, place, argv, cwd=cwd, **screen)

    # --- finding

    def _processes(self) -> Iterator[Process]:
        """The root and all beneath it that have not ended."""
        waiting = [self._root]
        while waiting:
            process = waiting.pop(0)
            yield process
            waiting += [child for child in process.children if not child.ended.is_set()]

    def _agents(self) -> dict[str, tuple[Process, Agent]]:
        """The agents that have not ended, by address."""
        owned = ((p, agent) for p in self._processes() for agent in p.agents.values())
        return {agent.address: (p, agent) for p, agent in owned if agent.status != "ended"}

    def _machines(self) -> dict[str, tuple[Process, Machine]]:
        owned = ((p, machine) for p in self._processes() for machine in p.machines)
        live = self._runtime.tenancies
        return {machine.name: (p, machine) for p, machine in owned if machine.name in live}

    def _agent(self, address: str) -> tuple[Process, Agent]:
        agents = self._agents()
        fitting = _fitting(address, agents)
        if len(fitting) != 1:
            raise NoSuchAgent(_not_found("agent", address, fitting, agents))
        return agents[fitting[0]]

    def _seen(self, address: str) -> tuple[Process, Agent, Terminal]:
        process, agent = self._agent(address)
        if agent.terminal is None:
            where = agent.machine.name
            raise NoTerminal("it has no terminal", agent=agent.address, machine=where)
        return process, agent, agent.terminal

    def _machine(self, name: str) -> tuple[Process, Machine]:
        machines = self._machines()
        fitting = _fitting(name, machines)
        if len(fitting) != 1:
            raise MachineError(_not_found("machine", name, fitting, machines))
        return machines[fitting[0]]

    def _exposing(self, endpoint: str, of: str | None) -> Process:
        """The process of this id or name; without one, the only one with such an endpoint."""
        there = list(self._processes())
        if of is not None:
            there = [p for p in there if of in (p.id, p.name)]
            if not there:
                raise EndpointError(f"no process {of!r}; {_exposed(self._processes())}")
        fitting = [p for p in there if endpoint in p.endpoints]
        if not fitting:
            raise EndpointError(f"no endpoint {endpoint!r}; {_exposed(self._processes())}")
        if len(fitting) > 1:
            ids = ", ".join(f"{p.id} ({p.name})" for p in fitting)
            raise EndpointError(f"several processes expose {endpoint!r}; name one by its id: {ids}")
        return fitting[0]


def _fate(process: Process, agent: Agent, incarnation: int) -> dict[str, Json]:
    """What has become of an incarnation of an agent's program, and what the run does about it."""
    if agent.terminal is not None and agent.incarnation == incarnation:
        program = "running"
    else:
        lost = process.alive if agent.ending is None else not agent.ending.expected
        program = "lost" if lost else "over"
    on_failure = agent.settings.on_failure
    return {"program": program, "on_failure": on_failure, "process": process.name}


def _open(
    process: Process,
    machine: Machine,
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    columns: int = 80,
    rows: int = 24,
    term: str = "xterm-256color",
) -> Upgrade:
    """A terminal of this size and type on a machine; while it is open, nobody is idle."""
    size = pty_size(columns, rows)

    async def serve(frames: Frames) -> None:
        with process.attended():
            given = {"TERM": term, **(env or {})}
            await serve_terminal(frames, machine, argv, size=size, cwd=cwd, env=given)

    return Upgrade({"machine": machine.name, "here": machine.here}, serve)


def _run(process: Process, machine: Machine, argv: Sequence[str], *, cwd: str | None) -> Upgrade:
    """A command on a machine, without a terminal; while it runs, nobody is idle."""

    async def serve(frames: Frames) -> None:
        with process.attended():
            await serve_command(frames, machine, argv, cwd=cwd)

    return Upgrade({"machine": machine.name, "here": machine.here}, serve)


def _fitting(wanted: str, names: Collection[str]) -> list[str]:
    """The name itself where it is there, else all that begin like this."""
    return [wanted] if wanted in names else [name for name in names if name.startswith(wanted)]


def _not_found(what: str, wanted: str, fitting: list[str], names: Collection[str]) -> str:
    if fitting:
        return f"{what} {wanted!r} could be any of: {', '.join(sorted(fitting))}"
    return f"the run has no {what} {wanted!r}; it has: {', '.join(sorted(names)) or 'none'}"


def _exposed(processes: Iterable[Process]) -> str:
    listed = [f"{e} ({p.id} {p.name})" for p in processes for e in sorted(p.endpoints)]
    return f"there are: {', '.join(listed)}" if listed else "no process exposes any"
