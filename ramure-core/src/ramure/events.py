"""Events and the streams they are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        type: what kind of thing.
        data: the payload; whatever was emitted.
        source: a tag that ``bubble`` puts on a child's events.
        time: Unix time, seconds.
        seq: counts from 1 in its stream, without gaps.
        process: the process's id in its run.
        agent: the agent's address; "" for an event of a process.
    """

    type: str
    data: Any = None
    source: str | None = None
    time: float = 0.0
    seq: int = 0
    process: str = ""
    agent: str = ""
