"""Whether anything happens in a process that could end its wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ramure.errors import AgentIdle

if TYPE_CHECKING:
    from ramure.processes.process import Process


class Activity:
    """What one process has at work, and since when it has had nothing."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._at_work = 0
        self._last = time.monotonic()

    def stir(self, by: int = 0) -> None:
        """Something happens; and as long as ``by`` is not taken back, something is at work."""
        self._at_work += by
        self._last = time.monotonic()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Something is at work during the block."""
        self.stir(+1)
        try:
            yield
        finally:
            self.stir(-1)

    def quiet_for(self, now: float) -> float:
        """Seconds for which nothing has happened that could end a wait; 0 while something may."""
        process = self._process
        agents = process.belongings.live_agents
        served = process.endpoints and not agents
        if self._at_work or process.belongings.busy or served or process.has_children:
            return 0.0
        quiet = now - self._last
        for agent in agents:
            idle = agent.idle_seconds
            if idle is None:
                return 0.0
            quiet = min(quiet, idle)
        return quiet

    def idleness(self, timeout: float) -> AgentIdle:
        """The error of a process that has been quiet for so many seconds."""
        process = self._process
        names = ", ".join(repr(agent.address) for agent in process.belongings.live_agents)
        who = f"its agents ({names}) are idle" if names else "it has no agent"
        return AgentIdle(
            f"the process {process.name!r} has waited for {timeout:g} s for done() or fail(), and "
            f"nothing can call them: {who}, and no child, handler or endpoint is running"
        )
