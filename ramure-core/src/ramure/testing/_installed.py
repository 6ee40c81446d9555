"""Plugins that are there for a while, without being installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

from ramure.plugins import Plugins
from ramure.plugins.discovery import Source, entry_points


@contextmanager
def installed(**plugins: object) -> Iterator[Plugins]:
    """Have these plugins found beside those that are installed, by all runs that start meanwhile.

    A plugin is what its entry point would name: a module, or any object with hooks.
    """
    sources = (
        Source(name, "", "", getattr(plugin, "__name__", name), partial(_same, plugin))
        for name, plugin in plugins.items()
    )
    found = Plugins([*entry_points(), *sources])
    with patch.object(Plugins, "load", lambda: found):
        yield found


def _same(plugin: object) -> object:
    return plugin
