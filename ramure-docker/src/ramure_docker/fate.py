"""Why a container has ended, from what the engine tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from signal import SIGKILL, SIGTERM

HAND = {
    int(SIGTERM): "the container has been stopped by hand",
    int(SIGKILL): "the container has been killed or removed by hand",
}
"""What the engine was asked to send, first of all. Whether it kills in order to remove, it does not
tell: either way it removes the container afterwards."""

KILLED = 137
"""The exit code of what SIGKILL ended, the kernel's for want of memory, too."""


class Traces:
    """What the engine has told of a container.

    Attributes:
        ran_out_of_memory: the kernel has killed something in it for that: not always all of it.
    """

    def __init__(self) -> None:
        self.ran_out_of_memory = False
        self._signal = 0

    def note(self, what: str, about: Mapping[str, str]) -> None:
        """Take note of an event."""
        if what == "oom":
            self.ran_out_of_memory = True
        elif what == "kill":
            self._signal = self._signal or int(about.get("signal", 0))

    def why(self, code: int | None) -> str:
        """Why it has ended, with this exit code where it is known."""
        if self._signal in HAND:
            return HAND[self._signal]
        if self.ran_out_of_memory and code in {KILLED, None}:
            return "the container ran out of memory"
        if code is None:
            return "the container has been removed"
        return f"the container's own program ended with exit code {code}"
