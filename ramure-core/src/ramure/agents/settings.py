"""How an agent is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OnFailure = Literal["fail", "ignore", "restart"]

START_TIMEOUT = 120.0
"""Seconds from starting an agent's program to its first word."""

STALL_TIMEOUT = 900.0
"""Seconds that a working model may be silent. Long thinking comes without a word."""


TOOL_TIMEOUT = 3600.0
"""Seconds that an agent may be silent while a tool is at work. Builds and test suites take long."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """What to say to an agent that went idle while its process waits.

    Attributes:
        text: the message.
        after: seconds of idleness before it.
        limit: how often at the most, in a row.
    """

    text: str
    after: float = 30.0
    limit: int = 3


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What ``ramure.agent`` was told; see there for what each means."""

    system_prompt: str | None = None
    model: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_failure: OnFailure = "fail"
    start_timeout: float = START_TIMEOUT
    stall_timeout: float | None = STALL_TIMEOUT
    tool_timeout: float | None = TOOL_TIMEOUT
    nudge: Nudge | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
