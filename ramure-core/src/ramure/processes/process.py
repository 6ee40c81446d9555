"""Processes: the tree of scopes that a program's functions run in, and what they call there.

Every process runs its body in a task of its own, in the task group of its parent (of the run, for
the root). So a process that was spawned, one that was awaited, and one among the arguments of
``asyncio.gather`` are the same thing, and none outlives its parent. When a body has ended, its
children are cancelled and awaited, its handlers get a moment to finish, its agents and machines are
removed; only then is its end told.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from ramure.agents.agent import Agent
from ramure.cancellation import Interrupted, Interruption, outlast
from ramure.errors import (
    ProcessCancelled,
    ProcessFailed,
    ProcessTimeout,
    UsageError,
)
from ramure.events import EventStream
from ramure.machine import Machine
from ramure.placement import Placement, resolve_placement
from ramure.processes.activity import Activity
from ramure.processes.belongings import Belongings
from ramure.processes.grace import AFTER_CANCEL, AFTER_END, Grace
from ramure.processes.handlers import Handlers
from ramure.processes.requests import AgentOrder, Endpoint, Options, Verdict
from ramure.run.runtime import Runtime
from ramure.scope import calling, current
from ramure.values import Json

Status = Literal["starting", "running", "stopping", "done", "failed", "cancelled"]
T = TypeVar("T")


class UnobservedFailure(RuntimeWarning):
    """A spawned process failed, and nobody awaited its handle, read its events or bubbled them."""


class AbandonedChild(RuntimeWarning):
    """A spawned process was still at work when its parent returned, and nobody awaited it."""


@dataclass(slots=True)
class Outcome:
    """How a process ended: a value, or an error."""

    status: Literal["done", "failed", "cancelled"]
    value: Any = None
    error: BaseException | None = None


class Process:
    """One running ``@agent_process`` function: the implementation behind handle and functions.

    Attributes:
        id: ``1`` for the root, ``1.2`` for its second child.
        name: the function's name.
        events: the process's own stream.
        activity: what it has at work, as far as that could end a wait.
        belongings: its agents and machines.
        endpoints, children: what else it owns.
        ended: set when everything it owned is gone and its outcome is known.
    """

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        *,
        parent: Process | None,
        placement: Placement,
        options: Options,
    ) -> None:
        self.name = name
        self.runtime = runtime
        self.parent = parent
        self.placement = placement
        self.options = options
        self.id: str = f"{parent.id}.{parent.count_child()}" if parent else "1"
        self.loop = asyncio.get_running_loop()
        self.started = time.time()
        self.status: Status = "starting"
        self.belongings = Belongings(self)
        self.endpoints: dict[str, Endpoint] = {}
        self.children: list[Process] = []
        self.ended = anyio.Event()
        self.outcome: Outcome | None = None
        self.observed = False
        self.events = EventStream(
            log=runtime.journal.process_log(self.id),
            process=self.id,
            observe=runtime.plugins.observe,
        )
        self.settled = anyio.Event()
        """Set once the body waits or has ended: what it sets up first is there by then."""
        self._children_made = 0
        self._changed = asyncio.Event()
        self._verdict: Verdict | None = None
        self._failure: BaseException | None = None
        self._cancelled = False
        self._hurried = False
        self._waiters: set[asyncio.Future[BaseException | None]] = set()
        self._open = True
        self.activity = Activity(self)
        self._body = Interruption()
        self._handlers = Handlers(self)
        self._grace = Grace()
        self._abandoned: list[Process] = []
        self._start: Callable[[], object] = lambda: None
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Process {self.id} {self.name!r}: {self.status}>"

    # --- as a scope (see ramure.scope)

    @property
    def open(self) -> bool:
        """True until the process's handlers have had their time to finish."""
        return self._open

    @property
    def has_children(self) -> bool:
        """True while a child process of it is at work."""
        return any(not child.ended.is_set() for child in self.children)

    @property
    def alive(self) -> bool:
        """True while its body may still start things."""
        return self.status in ("starting", "running")

    @property
    def abandoned(self) -> bool:
        """True while it is at work, nobody looks, and it serves nobody by an endpoint."""
        return self.alive and not self.observed and not self.endpoints

    def emit(self, type: str, data: Any = None, *, source: str | None = None) -> None:  # noqa: A002
        """Emit an event on the process's stream."""
        self.events.emit(type, data, source=source)

    def start(
        self,
        work: Callable[[], Awaitable[None]],
        context: Context,
        unbegun: Callable[[], object] = lambda: None,
    ) -> Interruption:
        """Run a handler as a task of this process; see ``Scope.start``."""
        return self._handlers.start(work, context, unbegun)

    def crash(self, error: BaseException) -> None:
        """Fail: every ``wait()`` raises the error; a body that does something else is cancelled.

        Further failures count for nothing until those who wait have heard of the first.
        """
        if not self.alive or self._failure is not None:
            return
        if not self._wake(error):
            self._failure = error
            self._body.cancel()

    def _wake(self, error: BaseException | None) -> bool:
        """Tell whoever waits; False where there is nobody, or nobody but those who gave up."""
        hearing = [waiter for waiter in self._waiters if not waiter.cancelled()]
        for waiter in hearing:
            if not waiter.done():
                waiter.set_result(error)
        return bool(hearing)

    # --- what the body calls

    def conclude(self, verdict: Verdict) -> None:
        """``done`` or ``fail``: the first one counts."""
        if self._verdict is None:
            self._verdict = verdict
            if (call := calling.get(None)) is not None and call.owner is self:
                call.final = True
            self._wake(None)

    async def wait(self) -> Any:
        """Block until ``done`` or ``fail``, or until an agent fails."""
        self.activity.stir()
        self.settled.set()
        self.changed()
        failure, self._failure = self._failure, None
        if failure is None and self._verdict is None:
            failure = await self._woken()
        if self._verdict is None:
            raise cast("BaseException", failure)
        if self._verdict.reason is not None:
            reason = self._verdict.reason
            raise ProcessFailed(reason, process=self.name, reason=reason)
        return self._verdict.value

    async def _woken(self) -> BaseException | None:
        waiter = self.loop.create_future()
        self._waiters.add(waiter)
        try:
            return cast("BaseException | None", await waiter)
        finally:
            self._waiters.discard(waiter)

    def cancel(self) -> None:
        """Ask the process to end; returns at once, ``ended`` tells when it has."""
        self.limit_grace(self.loop.time() + AFTER_CANCEL)
        self.interrupt()

    def limit_grace(self, deadline: float) -> None:
        """The handlers of it and of all beneath it may go on until then, at the most."""
        self._grace.end_by(deadline)
        for child in self.children:
            child.limit_grace(deadline)

    def interrupt(self) -> None:
        """As ``cancel``, where handlers have their time already."""
        if self.alive:
            self._cancelled = True
            self._body.cancel()
        if self.status == "starting":
            self._start()

    def hurry(self) -> None:
        """End without giving body, children and handlers their time to finish."""
        self._hurried = True
        self.cancel()
        self._body.insist()
        for child in self.children:
            child.hurry()
        self._handlers.hurry()

    def child_ended(self, child: Process) -> None:
        """Forget a child, unless it failed and nobody has looked yet."""
        self.activity.stir()
        self.changed()
        if child.status != "failed" or child.observed:
            self.children.remove(child)

    def count_child(self) -> int:
        """The number of the next child."""
        self._children_made += 1
        return self._children_made

    @property
    def _group(self) -> TaskGroup:
        if self._tasks is None:
            raise UsageError(f"the process {self.name!r} is not running")
        return self._tasks

    def changed(self) -> None:
        """Wake whoever waits for a change of this process."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_change(self) -> None:
        """Wait until something about this process changes."""
        await self._changed.wait()

    def attended(self) -> AbstractContextManager[None]:
        """A person sits at a terminal of one of its agents or machines: it is not idle."""
        return self.activity.at_work()

    # --- its life

    def start_in(self, tasks: TaskGroup, body: Callable[[], Awaitable[Any]]) -> None:
        """Run the body, and everything that follows from it, as a task."""
        # Kept: where the event loop is being closed, it cancels tasks before their first step.
        self._start = partial(tasks.start_soon, self._run, body)
        self._start()

    async def _run(self, body: Callable[[], Awaitable[Any]]) -> None:
        if self.status != "starting":
            return
        current.set(self)
        self.status = "running"
        self.emit("started", {"name": self.name})
        outcome = Outcome("cancelled")
        try:
            async with self._handlers, anyio.create_task_group() as self._tasks:
                outcome = await self._run_body(body)
                if outcome.status == "done":
                    self._abandoned = [c for c in self.children if c.abandoned]
                self.status = "stopping"
                self.settled.set()
                with anyio.CancelScope(shield=True):
                    await self._clean_up()
        finally:
            self._tasks = None
            self._tell(self._look_at_children(outcome))

    async def _run_body(self, body: Callable[[], Awaitable[Any]]) -> Outcome:
        alarm = self._set_alarm()
        try:
            return Outcome("done", await self._body.run(body))
        except CancelledError:
            # Not by us, that is Interrupted: the event loop is being closed.
            return Outcome("cancelled", error=self._cancellation())
        except Interrupted:
            return self._interruption()
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 sys.exit(), too, is for whoever awaits it
            return Outcome("failed", error=error)
        finally:
            if alarm is not None:
                alarm.cancel()

    def _set_alarm(self) -> asyncio.TimerHandle | None:
        if self.options.timeout is None:
            return None
        return asyncio.get_running_loop().call_later(self.options.timeout, self._body.cancel)

    def _interruption(self) -> Outcome:
        """Why the body was interrupted: an agent failed, somebody cancelled, or time ran out."""
        if self._failure is not None:
            return Outcome("failed", error=self._failure)
        if self._cancelled:
            return Outcome("cancelled", error=self._cancellation())
        after = f"the process {self.name!r} did not end within {self.options.timeout:g} s"
        return Outcome("failed", error=ProcessTimeout(after, process=self.name))

    def _cancellation(self) -> ProcessCancelled:
        return ProcessCancelled(f"the process {self.name!r} was cancelled", process=self.name)

    async def _clean_up(self) -> None:
        """End what the process owns: children, handlers, agents, machines, in this order."""
        self.limit_grace(self.loop.time() + AFTER_END)
        for child in self.children:
            child.interrupt()
        await self.belongings.abandon()
        for child in list(self.children):
            await child.ended.wait()
        await self._handlers.end(None if self._hurried else self._grace)
        self._open = False
        await self.belongings.remove()

    def _tell(self, outcome: Outcome) -> None:
        """Tell the end, after everything is gone: a retry may use the same names at once."""
        self.outcome = outcome
        self.status = outcome.status
        data = outcome.value if outcome.status == "done" else outcome.error
        self.events.emit(outcome.status, data)
        self.events.close()
        self._open = False
        self.ended.set()
        self.changed()
        if self.parent is not None:
            self.parent.child_ended(self)

    def unwrap(self) -> Any:
        """The result; or raises what ended the process, as it is."""
        outcome = cast("Outcome", self.outcome)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _look_at_children(self, outcome: Outcome) -> Outcome:
        """Warn of children that nobody looked after. Where warnings are errors, so is this."""
        for child in self._abandoned:
            text = (
                f"the process {child.name!r} was still at work when {self.name!r} returned, and was"
                " cancelled: await the handle that spawn() gave, or cancel() it where that is meant"
            )
            outcome = self._warn(outcome, AbandonedChild(text))
        for child in self.children:
            failure = cast("Outcome", child.outcome).error
            text = f"the process {child.name!r} failed and nobody looked: {failure!r}"
            self.runtime.journal.record("unobserved_failure", {"process": child.id, "error": text})
            outcome = self._warn(outcome, UnobservedFailure(text))
        return outcome

    def _warn(self, outcome: Outcome, warning: RuntimeWarning) -> Outcome:
        try:
            warnings.warn(warning, stacklevel=2)
        except RuntimeWarning as error:
            if outcome.status == "done":
                return Outcome("failed", error=error)
        return outcome

    def observe(self) -> None:
        """Somebody looks at what becomes of the process."""
        self.observed = True
        if self.ended.is_set() and self.parent is not None and self in self.parent.children:
            self.parent.children.remove(self)

    # --- children

    def begin_child(
        self, name: str, options: Options, body: Callable[[], Awaitable[Any]]
    ) -> Process:
        """Start a child process; it runs as a task of this one."""
        placement = resolve_placement(
            options.image, options.host, inherited=self.placement, plugins=self.runtime.plugins
        )
        child = Process(name, self.runtime, parent=self, placement=placement, options=options)
        child.limit_grace(self._grace.deadline)
        if ignored := options.of_the_run:
            about: dict[str, Json] = {"process": child.id, "name": name, "options": [*ignored]}
            self.runtime.journal.record("options_ignored", about)
        self.children.append(child)
        self.activity.stir()
        child.start_in(self._group, body)
        return child

    # --- agents and machines

    @property
    def agents(self) -> dict[str, Agent]:
        """The agents that it has made so far, by name."""
        return self.belongings.agents

    @property
    def machines(self) -> list[Machine]:
        """The machines that are removed with it."""
        return self.belongings.machines

    async def own_machine(self, placement: Placement) -> Machine:
        """Make a machine that this process owns."""
        return await self.belongings.make_machine(placement, self._group)

    async def own_agent(self, name: str, order: AgentOrder) -> Agent:
        """Start an agent that this process owns; see ``Belongings.make_agent``."""
        return await self.belongings.make_agent(name, order, self._group)

    # --- looking after them

    def tend(self, now: float) -> None:
        """Look after agents and children, and end a wait that nothing can end any more."""
        for agent in list(self.agents.values()):
            agent.tend(now, waiting=bool(self._waiters))
        for child in list(self.children):
            if not child.ended.is_set():
                child.tend(now)
        timeout = self.options.idle_timeout
        if timeout and self._waiters and self.activity.quiet_for(now) >= timeout:
            self.crash(self.activity.idleness(timeout))

    # --- what people see

    def describe(self) -> dict[str, Json]:
        """What ``ramure status`` shows of it."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "started": self.started,
            "waiting": bool(self._waiters),
            "endpoints": cast("list[Json]", sorted(self.endpoints)),
            "agents": [agent.describe() for agent in self.agents.values()],
            "children": [c.describe() for c in self.children if not c.ended.is_set()],
        }


async def run_child(process: Process) -> Any:
    """Await a child that was called like a function: its end, its result, its errors."""
    process.observe()
    await outlast(process.ended, process.cancel)
    return process.unwrap()
