"""What programs ask of a process: plain values, which cost nothing to import."""

from __future__ import annotations

import os
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramure.agents.settings import AgentSettings
    from ramure.harness import Harness
    from ramure.machine import Image, Machine
    from ramure.placement import HostLike, ListenerOptions, Placement
    from ramure.tools import Tool

IDLE_TIMEOUT = 900.0
"""Seconds of silence after which a process that only waits fails with ``AgentIdle``."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``@agent_process`` was given."""

    image: Image | str | None = None
    timeout: float | None = None
    log_dir: str | os.PathLike[str] | None = None
    host: HostLike | None = None
    listener: ListenerOptions | None = None
    idle_timeout: float | None = IDLE_TIMEOUT

    @property
    def of_the_run(self) -> list[str]:
        """Those that concern the run, and so mean nothing in a process that is no root."""
        asked = {"log_dir=": self.log_dir, "host=, port= or base_url=": self.listener}
        return [name for name, value in asked.items() if value is not None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A function that a process exposes, and the context it was exposed in."""

    tool: Tool
    context: Context


@dataclass(frozen=True, slots=True)
class AgentOrder:
    """What kind of agent a process is to start: on this machine, or on a new one."""

    placement: Placement
    machine: Machine | None
    harness: Harness
    settings: AgentSettings


@dataclass(slots=True)
class Verdict:
    """What ``done`` or ``fail`` said."""

    value: Any = None
    reason: str | None = None
