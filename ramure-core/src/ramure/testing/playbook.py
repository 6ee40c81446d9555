"""Which turn comes next: scripts by name, and how far each conversation has come in its own."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ramure.testing.request import Request
from ramure.testing.script import Part, Play, Script, Scripts, Text, Turn, parts

ANY = "*"
"""The name of the script for whoever has none."""

_SUFFIX = re.compile(r"-\d+$")
"""What an address has beyond the name, where another agent of the run has that name."""


def by_name(scripts: Scripts) -> dict[str, Script]:
    """The scripts, each under its name; a single one under ``"*"``."""
    return dict(scripts) if isinstance(scripts, Mapping) else {ANY: scripts}


class Playbook:
    """Gives each conversation its turns.

    A list is played from its start in *every* conversation, so that many agents at once, or one
    after a restart, each see the whole of it. After its end it says so, or begins again.

    Args:
        scripts: one script for all; or by name, which is a ``[script: name]`` in the system prompt
            or a message, else a scripted agent's name, else the model's id, else ``"*"``.
        cycle: begin a list again after its end.
    """

    def __init__(self, scripts: Scripts, *, cycle: bool = False) -> None:
        self._scripts = by_name(scripts)
        self._cycle = cycle
        self._turns: Counter[str] = Counter()

    @property
    def names(self) -> list[str]:
        """The names of the scripts, without ``"*"``."""
        return [name for name in self._scripts if name != ANY]

    def count(self, request: Request) -> Request:
        """The request with its place in its conversation."""
        turn = self._turns[request.conversation]
        self._turns[request.conversation] += 1
        return replace(request, turn=turn)

    async def next(self, request: Request) -> tuple[Part, ...]:
        """The turn that answers a counted request.

        Raises:
            LookupError: no script is meant for it.
            Exception: whatever a script's function raised.
        """
        step = self._step(self._script(request), request.turn)
        turn = step(request) if callable(step) else step
        return parts(await turn if inspect.isawaitable(turn) else turn)

    def _script(self, request: Request) -> Script:
        name = _SUFFIX.sub("", request.agent)
        for known in (request.tag, request.agent, name, request.model, ANY):
            if known in self._scripts:
                return self._scripts[known]
        who = f"agent {request.agent!r}" if request.agent else f"model {request.model!r}"
        raise LookupError(f"no script for {who}; there are scripts for: {', '.join(self.names)}")

    def _step(self, script: Script, turn: int) -> Turn | Play:
        if callable(script):
            return script
        if self._cycle and script:
            return script[turn % len(script)]
        if turn < len(script):
            return script[turn]
        return Text(f"The script has no more turns: {len(script)} were all it had.")
