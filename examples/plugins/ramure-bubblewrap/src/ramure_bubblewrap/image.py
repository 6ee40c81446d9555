"""What a sandbox starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ramure.machine import Image


# --8<-- [start:image]
@dataclass(frozen=True, slots=True)
class BubblewrapImage(Image):
    """A sandbox that sees this computer's programs, its own folder, and nothing else.

    Attributes:
        workdir: a folder of this computer that becomes ``/work``; None for an empty one, which ends
            with the sandbox.
        readable: further folders of this computer that are there, read-only, at their own paths.
        network: whether it has this computer's network; otherwise it has none.
        env: the environment of its commands, which inherit nothing of the program's. May hold
            secrets.
    """

    backend: ClassVar[str] = "bubblewrap"

    workdir: str | Path | None = None
    readable: Sequence[str | Path] = field(default=(), hash=False)
    network: bool = False
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


# --8<-- [end:image]
