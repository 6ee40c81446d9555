"""From entry points to registered plugins. What is broken becomes a problem and is left out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from typing import Any

import pluggy

from ramure import hookspecs
from ramure.errors import PluginError
from ramure.plugins.report import PluginProblem

GROUP = "ramure"
"""The entry-point group that plugins are found through."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin comes from.

    Attributes:
        name: of its entry point.
        distribution: what pip installs; "" where it is not known.
        version: of the distribution.
        origin: what is imported, ``module`` or ``module:attribute``.
        load: import it.
    """

    name: str
    distribution: str
    version: str
    origin: str
    load: Callable[[], object]

    @property
    def title(self) -> str:
        """The distribution, as what people know it by; with the name where it has another."""
        if self.name in (self.distribution, self.distribution.removeprefix("ramure-"), ""):
            return self.distribution
        return f"{self.distribution}:{self.name}" if self.distribution else self.name


def entry_points() -> Iterator[Source]:
    """Every installed plugin."""
    for point in metadata.entry_points(group=GROUP):
        name, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
        yield Source(point.name, name, version, point.value, point.load)


class Hooks:
    """The registered plugins, and calling their hooks one by one, so that none stops another."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.problems: list[PluginProblem] = []
        self.sources: dict[str, Source] = {}
        self._failed: set[tuple[str, str]] = set()
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._specs = {name for name in vars(hookspecs) if name.startswith("ramure_")}
        for source in sources:
            self._add(source)

    def has(self, title: str) -> bool:
        """True where the plugin was registered, not left out."""
        return bool(self._pluggy.has_plugin(title))

    def implementations(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """(title of the plugin, function), in the order that the plugins were found."""
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        return [
            (implementation.plugin_name, _accepting(implementation)) for implementation in found
        ]

    def call(self, hook: str, **arguments: object) -> Iterator[tuple[str, Any]]:
        """(title of the plugin, result) of each that works; the others become problems."""
        for title, function in self.implementations(hook):
            try:
                result = function(**arguments)
                result = list(result) if isinstance(result, Iterable) else result
            except Exception as error:  # noqa: BLE001 a plugin may raise anything
                self.failed(title, hook, error)
            else:
                yield title, result

    def failed(self, title: str, hook: str, error: Exception) -> None:
        """Record that a hook raised, the first time: an observer may do so at every event."""
        if (title, hook) not in self._failed:
            self._failed.add((title, hook))
            self.tell(title, f"{hook} raised {type(error).__name__}: {error}")

    def tell(self, title: str, what: str, cure: str = "") -> None:
        """Record a problem."""
        if not cure and (source := self.sources.get(title)) and source.distribution:
            cure = f"pip install --upgrade {source.distribution}, or uninstall it"
        problem = PluginProblem(title, what, cure)
        if problem not in self.problems:
            self.problems.append(problem)

    def _add(self, source: Source) -> None:
        title = source.title
        self.sources.setdefault(title, source)
        try:
            plugin = source.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 importing runs any code
            self.tell(title, f"cannot be imported: {type(error).__name__}: {error}")
            return
        contract = getattr(plugin, "RAMURE_CONTRACT", hookspecs.CONTRACT)
        if contract != hookspecs.CONTRACT:
            self.tell(title, *_other_contract(contract, source))
            return
        try:
            self._pluggy.register(plugin, title)
            self._refuse_wrappers(plugin)
        except (pluggy.PluginValidationError, PluginError, ValueError) as error:
            if self._pluggy.has_plugin(title) and self._pluggy.get_plugin(title) is plugin:
                self._pluggy.unregister(name=title)
            self.tell(title, str(error).replace("\n", " "))
            return
        self._look_for_slips(plugin, title)

    def _refuse_wrappers(self, plugin: object) -> None:
        for caller in self._pluggy.get_hookcallers(plugin) or ():
            for found in caller.get_hookimpls():
                if found.plugin is plugin and (found.wrapper or found.hookwrapper):
                    raise PluginError(f"{caller.name} is a hook wrapper; ramure has none")

    def _look_for_slips(self, plugin: object, title: str) -> None:
        """What would be ignored in silence: names that are nearly hooks, hooks without a mark."""
        known = {caller.name for caller in self._pluggy.get_hookcallers(plugin) or ()}
        for name in sorted(known - self._specs):
            near = get_close_matches(name, self._specs, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            self.tell(title, f"implements {name}, which is no hook of ramure{hint}")
        for name in sorted(self._specs - known):
            if inspect.isroutine(getattr(plugin, name, None)):
                self.tell(title, f"{name} is not marked with @ramure.hookimpl, so it is ignored")


def _accepting(implementation: Any) -> Callable[..., Any]:
    """The function; it may leave out arguments of the hook that it has no use for."""
    names = implementation.argnames
    return lambda **given: implementation.function(*(given[name] for name in names))


def _other_contract(contract: object, source: Source) -> tuple[str, str]:
    what = (
        f"was written for version {contract} of ramure's contracts;"
        f" this ramure has version {hookspecs.CONTRACT}"
    )
    older = isinstance(contract, int) and contract < hookspecs.CONTRACT
    return what, f"pip install --upgrade {source.distribution if older else 'ramure'}"
