"""The hooks that a plugin may implement.

A plugin is an installed distribution with an entry point in the group ``ramure`` whose object (a
module, usually) has functions marked with ``ramure.hookimpl`` and named as below. All hooks are
synchronous, and every plugin's results are collected: none wins over another. A hook returns
*descriptions* that name what to import, so that registering never imports an SDK.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from ramure.events import Event

PROJECT = "ramure"
CONTRACT = 1
"""The version of the contracts (hooks, machine, harness, transport). A plugin that declares
``RAMURE_CONTRACT`` with another number is reported and left out."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A machine backend.

    Attributes:
        name: as in ``host="name"`` and ``image="name:…"``: lower case letters, digits, dashes.
        summary: one line for people.
        load: ``"module:Class"`` of the ``Backend``.
        image: ``"module:Class"`` of its image, importable from ``ramure`` by the class's name.
    """

    name: str
    summary: str
    load: str
    image: str


@dataclass(frozen=True, slots=True)
class HarnessInfo:
    """A harness.

    Attributes:
        name: as in ``agent(…, harness="name")``: lower case letters, digits, dashes.
        summary: one line for people.
        load: ``"module:Class"`` of the ``Harness``.
    """

    name: str
    summary: str
    load: str


@dataclass(frozen=True, slots=True)
class TransportInfo:
    """A transport.

    Attributes:
        name: as in ``Machine.transports``: lower case letters, digits, dashes.
        summary: one line for people.
        load: ``"module:Class"`` of the ``Transport``.
    """

    name: str
    summary: str
    load: str


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """A check of ``ramure doctor``.

    Attributes:
        name: as in ``ramure doctor name``: lower case letters, digits, dashes.
        summary: one line for people: what is so where the check finds nothing.
        load: ``"module:function"``: an async function of no arguments that returns a list of
            ``ramure.values.Problem``. Those that are ``unused`` are notes, unless the check is
            asked for by its name.
    """

    name: str
    summary: str
    load: str


@hookspec
def ramure_register_backends() -> Iterable[BackendInfo]:  # type: ignore[empty-body]
    """Machine backends. Called once, when the first run or command of a program needs them."""


@hookspec
def ramure_register_harnesses() -> Iterable[HarnessInfo]:  # type: ignore[empty-body]
    """Harnesses. Called once, when the first run or command of a program needs them."""


@hookspec
def ramure_register_transports() -> Iterable[TransportInfo]:  # type: ignore[empty-body]
    """Transports. Called once, when the first run or command of a program needs them."""


@hookspec
def ramure_register_commands(app: typer.Typer) -> None:
    """Add commands to the ``ramure`` CLI. Called at every start of the CLI: import late."""


@hookspec
def ramure_register_checks() -> Iterable[CheckInfo]:  # type: ignore[empty-body]
    """What ``ramure doctor`` runs."""


@hookspec
def ramure_observe(event: Event) -> None:
    """See every event of every run of this program, in order, on the event loop: be quick.

    An observer that raises is recorded in the run's log and stops nobody else.
    """
