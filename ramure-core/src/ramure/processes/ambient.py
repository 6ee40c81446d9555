"""The functions that a program calls inside a process.

What they need has been imported by the process that they are called in: naming them costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ramure.agents.settings import (
    STALL_TIMEOUT,
    START_TIMEOUT,
    TOOL_TIMEOUT,
    AgentSettings,
    Nudge,
    OnFailure,
)
from ramure.errors import InvalidTool, UsageError
from ramure.processes.requests import AgentOrder, Endpoint, Verdict
from ramure.scope import on_the_loop, require
from ramure.values import Direction

if TYPE_CHECKING:
    from ramure.agents.agent import Agent
    from ramure.harness import Harness
    from ramure.machine import Image, Machine
    from ramure.placement import HostLike
    from ramure.processes.process import Process
    from ramure.run.runtime import Runtime

EndpointFunction = TypeVar("EndpointFunction", bound=Callable[..., Any])


async def agent(
    name: str,
    *,
    system_prompt: str | None = None,
    image: Image | str | None = None,
    machine: Machine | None = None,
    host: HostLike | None = None,
    harness: str | Harness = "pi",
    model: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    on_failure: OnFailure = "fail",
    nudge: Nudge | str | None = None,
    start_timeout: float = START_TIMEOUT,
    stall_timeout: float | None = STALL_TIMEOUT,
    tool_timeout: float | None = TOOL_TIMEOUT,
    **options: Any,
) -> Agent:
    """Start a coding agent that this process owns.

    Args:
        name: unique in this process; letters, digits, ``_``, ``.`` and ``-``.
        system_prompt: added to what the agent's program says by itself.
        image: what its machine starts from; inherited from the process unless given.
        machine: an existing machine to work on, so that several agents share it.
        host: where its machine is made; inherited from the process unless given.
        harness: the program: a registered name or a ``Harness`` of your own.
        model: as the harness reads it (pi: ``provider/model``); None for its default.
        cwd: working directory; relative paths are under the machine's own.
        env: further environment of its program; may hold secrets.
        on_failure: what happens when it fails. ``fail`` fails the process; ``ignore`` leaves it to
            the program, which sees the events; ``restart`` starts the agent's program again when
            it has died (3 times within 5 minutes at the most) and lets it go on with what it was
            doing, and fails the process otherwise.
        nudge: what to tell it when it goes idle while the process waits.
        start_timeout: seconds from the program's start to its first word.
        stall_timeout: seconds that its model may be silent while working; None for ever.
        tool_timeout: seconds that it may be silent while a tool is at work, its own or one of
            yours that waits for no child process; None for ever.
        options: whatever else the harness understands (``Harness.options``).

    Raises:
        InvalidName, PlacementError, PluginError, UsageError: before anything is started.
        MachineStartFailed, AgentStartFailed: and then nothing of it is left.
    """
    from ramure.placement import resolve_placement
    from ramure.processes import arguments

    process = require_process("agent()")
    arguments.check_name(name)
    arguments.check_where(name, machine, harness, placed=not (image is None and host is None))
    if machine is not None and machine.name not in process.runtime.tenancies:
        raise UsageError(f"agent {name!r}: {machine.name!r} is not a live machine of this run")
    settings = AgentSettings(
        system_prompt=system_prompt,
        model=model,
        cwd=cwd,
        env=arguments.environment(name, env),
        on_failure=on_failure,
        nudge=Nudge(nudge) if isinstance(nudge, str) else nudge,
        start_timeout=start_timeout,
        stall_timeout=stall_timeout,
        tool_timeout=tool_timeout,
        options=options,
    )
    arguments.check_settings(name, settings)
    program = process.runtime.harness(harness)
    arguments.check_options(name, options, program, agent)
    placement = resolve_placement(
        image, host, inherited=process.placement, plugins=process.runtime.plugins
    )
    order = AgentOrder(placement, machine, program, settings)
    return await process.own_agent(name, order)


async def machine(image: Image | str | None = None, *, host: HostLike | None = None) -> Machine:
    """Make a machine that this process owns; it is removed at the process's end.

    Args:
        image: what it starts from; inherited from the process unless given.
        host: where it is made; inherited from the process unless given.

    Raises:
        PlacementError, PluginError: before anything is started.
        MachineStartFailed: it could not be made.
    """
    from ramure.placement import resolve_placement

    process = require_process("machine()")
    placement = resolve_placement(
        image, host, inherited=process.placement, plugins=process.runtime.plugins
    )
    return await process.own_machine(placement)


@on_the_loop
def connect(a: Agent, b: Agent, *, direction: Direction = "both") -> None:
    """Allow agents to message each other and to send each other files.

    Each gets the built-in tools ``message``, ``send_file`` and ``download_file``, which work along
    the edges made here and in their direction. Calling it again adds edges.

    Args:
        a: one agent.
        b: the other agent.
        direction: ``both``, or ``forward`` for from ``a`` to ``b`` only.
    """
    from ramure.agents import peers

    process = require_process("connect()")
    if direction not in ("both", "forward"):
        raise UsageError(f"connect(): direction={direction!r} is neither 'both' nor 'forward'")
    if a is b:
        raise UsageError(f"connect(): {a.address!r} cannot be connected to itself")
    peers.connect(a, b, both=direction == "both")
    process.emit("connected", {"a": a.address, "b": b.address, "direction": direction})


@on_the_loop
def done(result: Any = None) -> None:
    """Signal success: ``wait()`` returns ``result``. The first ``done`` or ``fail`` counts."""
    require_process("done()").conclude(Verdict(value=result))


@on_the_loop
def fail(reason: str) -> None:
    """Signal failure: ``wait()`` raises ``ProcessFailed``. The first verdict counts.

    Args:
        reason: why, in words; part of the error's message.
    """
    require_process("fail()").conclude(Verdict(reason=str(reason)))


async def wait() -> Any:
    """Block until ``done()`` or ``fail()`` is called in this process; give ``done``'s result.

    Raises:
        ProcessFailed: ``fail`` was called.
        AgentDied, AgentStalled, ModelFailed: an agent of this process failed.
        AgentIdle: nothing has happened for the process's ``idle_timeout``, and nothing can.
    """
    return await require_process("wait()").wait()


@on_the_loop
def emit(type: str, data: Any = None) -> None:  # noqa: A002 the public name
    """Emit an event on this process's stream.

    Args:
        type: what happened, such as ``task_added``.
        data: whatever belongs to it.
    """
    require_process("emit()").emit(type, data)


@on_the_loop
def expose(function: EndpointFunction) -> EndpointFunction:
    """Register an async function as an endpoint of this process.

    It is called with ``handle.call(name, …)``, by agents through ``handle.attach(agent)``, or with
    ``ramure call``, and runs inside this process, whoever calls.

    Raises:
        InvalidTool: it is not an async function, or its arguments cannot be described.
    """
    from ramure.tools import Tool

    process = require_process("expose()")
    if not iscoroutinefunction(function):
        raise InvalidTool(f"@expose: {function!r} is not an async function")
    tool = Tool.of(function)
    process.endpoints[tool.name] = Endpoint(tool, copy_context())
    process.changed()
    return function


def current_runtime() -> Runtime:
    """The run that the current process belongs to."""
    return require_process("current_runtime()").runtime


def current_process() -> Process:
    """The current process itself; rarely needed."""
    return require_process("current_process()")


def require_process(what: str) -> Process:
    """The current live process, for the function of this name."""
    return cast("Process", require(what))
