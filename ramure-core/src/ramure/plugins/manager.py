"""``Plugins``: the one typed façade in front of all hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from ramure.errors import MissingPlugin, PluginError
from ramure.plugins import missing
from ramure.plugins.registry import Registry
from ramure.plugins.report import PluginDescription, PluginProblem

if TYPE_CHECKING:
    import typer

    from ramure.events import Event
    from ramure.hookspecs import BackendInfo, CheckInfo, HarnessInfo, TransportInfo
    from ramure.machine import Backend
    from ramure.plugins.discovery import Hooks, Source

_log = logging.getLogger("ramure.plugins")

Failed = Callable[[str, Exception], object]
"""Takes the plugin's title and what its observer raised."""


class Plugins:
    """All plugins; ``Plugins.load()`` gives those that are installed. Hooks are called late."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        """The built-in plugin and those of ``sources``."""
        from ramure.plugins.discovery import Hooks

        self._hooks: Hooks = Hooks([_builtin(), *sources])
        self._readers: dict[str, Backend] = {}
        self._observers = tuple(self._hooks.implementations("ramure_observe"))

    @classmethod
    def load(cls) -> Plugins:
        """The installed plugins, found once in a program."""
        return _installed()

    @classmethod
    def of(cls, **plugins: object) -> Self:
        """The built-in plugin and these objects, whatever is installed. For tests of plugins."""
        from ramure.plugins.discovery import Source

        return cls(
            Source(name, "", "", getattr(plugin, "__name__", name), partial(_same, plugin))
            for name, plugin in plugins.items()
        )

    # --- lookups

    def backends(self) -> Mapping[str, BackendInfo]:
        """The backends that can be used, by name."""
        return self._backends.all()

    def backend(self, name: str) -> BackendInfo:
        """One backend.

        Raises:
            NotRegistered: it is not there (``MissingPlugin`` where it can be installed).
            PluginError: several plugins claim it.
        """
        return self._backends[name]

    def reader(self, name: str) -> Backend:
        """A backend that is only asked what texts mean; it serves no run and makes nothing.

        Raises:
            PluginError: as ``backend``; or it cannot be imported.
        """
        if name not in self._readers:
            self._readers[name] = resolve(self.backend(name).load)()
        return self._readers[name]

    def harnesses(self) -> Mapping[str, HarnessInfo]:
        """The harnesses that can be used, by name."""
        return self._harnesses.all()

    def harness(self, name: str) -> HarnessInfo:
        """One harness. Raises ``PluginError`` like ``backend``."""
        return self._harnesses[name]

    def transports(self) -> Mapping[str, TransportInfo]:
        """The transports that can be used, by name."""
        return self._transports.all()

    def transport(self, name: str) -> TransportInfo:
        """One transport. Raises ``PluginError`` like ``backend``."""
        return self._transports[name]

    def checks(self) -> Mapping[str, CheckInfo]:
        """What ``ramure doctor`` runs, by name."""
        return self._checks.all()

    def image_classes(self) -> Mapping[str, str]:
        """``"module:Class"`` of each backend's image, by the class's name."""
        images = (info.image for info in self.backends().values())
        return {image.rpartition(":")[2]: image for image in images}

    def image_class(self, name: str) -> type:
        """The image class of this name, imported.

        Raises:
            MissingPlugin: its plugin can be installed; the message says how.
            AttributeError: no plugin has it.
        """
        if found := self.image_classes().get(name):
            image: type = resolve(found)
            return image
        if backend := missing.backend_of_image(name):
            raise MissingPlugin(f"{name} is not installed: {missing.cure(backend)}")
        raise AttributeError(f"no installed plugin has an image class {name!r}")

    # --- calling

    def commands(self, app: typer.Typer) -> None:
        """Let every plugin add its commands to the CLI."""
        for _ in self._hooks.call("ramure_register_commands", app=app):
            pass

    def observe(self, event: Event, failed: Failed | None = None) -> None:
        """Show an event to every observer. One that raises stops nobody.

        Args:
            event: what happened.
            failed: told of an observer that raised; by default it is logged. Either way it is
                among the ``problems``.
        """
        for title, function in self._observers:
            try:
                function(event=event)
            except Exception as error:  # noqa: BLE001 an observer may raise anything
                self._hooks.failed(title, "ramure_observe", error)
                if failed is None:
                    _log.warning("%s: ramure_observe raised", title, exc_info=True)
                else:
                    failed(title, error)

    # --- what people are told

    @property
    def problems(self) -> list[PluginProblem]:
        """Everything that is wrong with installed plugins, each with its cure."""
        self._ask_all()
        return list(self._hooks.problems)

    @property
    def installed(self) -> list[PluginDescription]:
        """Every installed plugin, the built-in one first."""
        kinds = self._ask_all()
        return [
            self._describe(title, source, kinds) for title, source in self._hooks.sources.items()
        ]

    def _describe(
        self, title: str, source: Source, kinds: Mapping[str, Registry[Any]]
    ) -> PluginDescription:
        registers = {kind: registry.names_of(title) for kind, registry in kinds.items()}
        registers["hooks"] = [
            hook
            for hook in ("ramure_register_commands", "ramure_observe")
            if any(owner == title for owner, _ in self._hooks.implementations(hook))
        ]
        return PluginDescription(
            source.name,
            source.distribution,
            source.version,
            source.origin,
            {kind: names for kind, names in registers.items() if names},
            working=self._hooks.has(title),
        )

    def _ask_all(self) -> dict[str, Registry[Any]]:
        return {
            "backends": self._backends,
            "harnesses": self._harnesses,
            "transports": self._transports,
            "checks": self._checks,
        }

    @cached_property
    def _backends(self) -> Registry[BackendInfo]:
        from ramure.hookspecs import BackendInfo

        return self._registry("backend", BackendInfo, "ramure_register_backends")

    @cached_property
    def _harnesses(self) -> Registry[HarnessInfo]:
        from ramure.hookspecs import HarnessInfo

        return self._registry("harness", HarnessInfo, "ramure_register_harnesses")

    @cached_property
    def _transports(self) -> Registry[TransportInfo]:
        from ramure.hookspecs import TransportInfo

        return self._registry("transport", TransportInfo, "ramure_register_transports")

    @cached_property
    def _checks(self) -> Registry[CheckInfo]:
        from ramure.hookspecs import CheckInfo

        return self._registry("check", CheckInfo, "ramure_register_checks")

    def _registry(self, kind: str, info: Any, hook: str) -> Registry[Any]:
        return Registry(kind, info, self._hooks.call(hook), self._hooks.tell)


def resolve(target: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        PluginError: it cannot be imported; the message says why.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # importing runs any code
        raise PluginError(f"cannot import {target}: {type(error).__name__}: {error}") from error


def _same(plugin: object) -> object:
    return plugin


def _builtin() -> Source:
    from ramure.plugins import builtin
    from ramure.plugins.discovery import Source

    # By name: the package's own file is above this one.
    version = import_module("ramure").__version__
    return Source("ramure", "ramure", version, builtin.__name__, partial(_same, builtin))


@cache
def _installed() -> Plugins:
    from ramure.plugins.discovery import entry_points

    return Plugins(entry_points())
