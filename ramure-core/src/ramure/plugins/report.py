"""What people are told about plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """Something that is wrong with a plugin, and what cures it."""

    plugin: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.plugin}: {self.what}{f' ({self.cure})' if self.cure else ''}"


@dataclass(frozen=True, slots=True)
class PluginDescription:
    """An installed plugin, for ``ramure plugins``.

    Attributes:
        name: of its entry point.
        distribution: what pip installs.
        version: of the distribution.
        origin: what is imported.
        registers: names by kind: ``backends``, ``harnesses``, ``transports``, ``checks``; and
            ``hooks``, the other hooks that it implements.
        working: False where it was left out; ``Plugins.problems`` says why.
    """

    name: str
    distribution: str
    version: str
    origin: str
    registers: Mapping[str, list[str]] = field(default_factory=dict)
    working: bool = True
