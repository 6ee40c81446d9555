"""The contract of harnesses: what starts and watches an agent's program on a machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ramure.machine import Machine
from ramure.toolset import ToolSet
from ramure.transport import Route
from ramure.values import AgentSpec, Ending, Json, Problem, Terminal


class Session(ABC):
    """One incarnation of an agent's program, running on a machine."""

    @abstractmethod
    async def wait(self) -> Ending:
        """Wait until the program has ended, however that came about; say how.

        Notices within seconds a program that exited and a terminal that was killed. May be called
        several times and by several tasks. Never raises for an ending; a machine that went away
        is an ending too.
        """

    @abstractmethod
    async def screen(self) -> str:
        """What its terminal shows now; the last it showed where it has ended; "" without one."""

    @property
    @abstractmethod
    def terminal(self) -> Terminal | None:
        """How a person sees its terminal; None where it has none."""

    @abstractmethod
    async def stop(self) -> None:
        """End the program and remove all it left. Idempotent; bounded (10 s); never half."""

    def describe(self) -> dict[str, Json]:
        """What a person may want to know of it: pids, versions, sockets. No secrets."""
        return {}


class Harness(ABC):
    """Starts an agent's program. One object serves one run.

    Attributes:
        name: as registered.
        options: the names of the further arguments of ``ramure.agent`` that it understands and
            finds in ``AgentSpec.options``; any other is refused before anything is started. None:
            it does not say, and is given all.
        tools: what its agents need on machines that are not this computer; the run sees that it is
            there (``Machine.equip``) before it calls ``check``. None: nothing but a POSIX shell.
    """

    name: ClassVar[str]
    options: ClassVar[Collection[str] | None] = None
    tools: ToolSet | None = None

    def refuse(self, options: Mapping[str, Any]) -> str:
        """What is wrong with the options of an agent, and the cure; nothing where all is well.

        Asked before anything is started. The words hold no value that may be a secret.
        """
        del options
        return ""

    @abstractmethod
    async def check(self, machine: Machine) -> list[Problem]:
        """What keeps this harness from working on the machine, each with its cure."""

    @abstractmethod
    async def start(self, machine: Machine, spec: AgentSpec, route: Route) -> Session:
        """Start the program; return once it runs, not when it has reached the run.

        The program's bridge dials ``route.address`` and proves itself with ``spec.token``.
        Cancelled in the middle, it removes what it had started.

        Raises:
            AgentStartFailed: it could not be started; the message says why and what to do.
        """

    async def aclose(self) -> None:
        """Let go of what the harness keeps for a run."""
