"""Write programs that use coding agents the way one uses functions.

Names are imported when they are first used, so that ``import ramure`` costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramure.agents.agent import Agent
    from ramure.agents.settings import Nudge
    from ramure.backends.local import LocalImage
    from ramure.errors import RamureError
    from ramure.events import Event, EventStream
    from ramure.harness import Harness, Session
    from ramure.hookspecs import hookimpl
    from ramure.machine import Backend, Image, Machine, Process
    from ramure.processes.ambient import (
        agent,
        connect,
        current_process,
        current_runtime,
        done,
        emit,
        expose,
        fail,
        machine,
        wait,
    )
    from ramure.processes.decorator import agent_process
    from ramure.processes.handle import ProcessHandle, bubble, running, spawn
    from ramure.processes.supervise import Backoff, Child, supervise
    from ramure.run.runtime import Runtime
    from ramure.transport import Route, Transport
    from ramure.values import ExecResult, Host, MachineRef, Problem, PtySize, Usage

__version__ = "0.1.0"

_HOMES = {
    "agents.agent": ("Agent",),
    "agents.settings": ("Nudge",),
    "processes.ambient": (
        "agent",
        "connect",
        "current_process",
        "current_runtime",
        "done",
        "emit",
        "expose",
        "fail",
        "machine",
        "wait",
    ),
    "errors": ("RamureError",),
    "events": ("Event", "EventStream"),
    "processes.decorator": ("agent_process",),
    "processes.handle": ("ProcessHandle", "bubble", "running", "spawn"),
    "processes.supervise": ("Backoff", "Child", "supervise"),
    "harness": ("Harness", "Session"),
    "hookspecs": ("hookimpl",),
    "machine": ("Backend", "Image", "Machine", "Process"),
    "run.runtime": ("Runtime",),
    "transport": ("Route", "Transport"),
    "values": ("ExecResult", "Host", "MachineRef", "Problem", "PtySize", "Usage"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "Backend",
    "Backoff",
    "Child",
    "Event",
    "EventStream",
    "ExecResult",
    "Harness",
    "Host",
    "Image",
    "LocalImage",
    "Machine",
    "MachineRef",
    "Nudge",
    "Problem",
    "Process",
    "ProcessHandle",
    "PtySize",
    "RamureError",
    "Route",
    "Runtime",
    "Session",
    "Transport",
    "Usage",
    "agent",
    "agent_process",
    "bubble",
    "connect",
    "current_process",
    "current_runtime",
    "done",
    "emit",
    "expose",
    "fail",
    "hookimpl",
    "machine",
    "running",
    "spawn",
    "supervise",
    "wait",
]


class _Package(ModuleType):
    """The function ``machine`` wins over the submodule of this name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "machine" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'ramure' has no attribute {name!r}")
    home = _HOME_OF.get(name)
    value = getattr(import_module(f"ramure.{home}"), name) if home else _elsewhere(name)
    globals()[name] = value
    return value


def _elsewhere(name: str) -> Any:
    """An error, or the image class of an installed backend (``LocalImage``, ``DockerImage``)."""
    # Not ``from ramure import``, which would ask this very function for the name.
    errors = import_module("ramure.errors")
    if isinstance(found := getattr(errors, name, None), type):
        return found
    if name.endswith("Image"):
        from ramure.plugins import Plugins

        return Plugins.load().image_class(name)
    raise AttributeError(f"module 'ramure' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
