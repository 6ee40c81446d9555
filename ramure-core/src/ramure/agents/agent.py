"""``Agent``: a coding agent on a machine, as a program sees it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from itertools import count
from typing import Any, Literal, TypeVar, cast, overload

import anyio

from ramure.agents.lifecycle import Lifecycle
from ramure.agents.outbox import Delivery, Outbox
from ramure.agents.question import Question
from ramure.agents.settings import AgentSettings
from ramure.agents.silence import Silence
from ramure.agents.toolbox import Offer, Toolbox
from ramure.agents.workplace import Workplace
from ramure.errors import (
    AgentDied,
    AgentEnded,
    AgentError,
    AgentStalled,
    InvalidTool,
    ModelFailed,
    UsageError,
)
from ramure.events import EventStream
from ramure.harness import Harness
from ramure.machine import Machine
from ramure.run import protocol
from ramure.run.runtime import Runtime
from ramure.scope import Scope, current, on_the_loop
from ramure.tools import Tool
from ramure.values import Ending, Json, Terminal, Usage

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Any])
Status = Literal["starting", "busy", "idle", "restarting", "ended"]

PEER_TOOLS = frozenset({"message", "send_file", "download_file"})
"""Names of the built-in tools, offered to agents that ``connect`` has joined to others."""

DELIVERY_TIMEOUT = 60.0
"""Seconds in which a connected bridge takes a message over."""


class Agent(Workplace):
    """A coding agent on a machine. Made by ``await ramure.agent(…)``.

    Attributes:
        name: unique in its process.
        address: unique in its run; what the CLI, the logs and messages call it.
        machine: where it works.
        events: everything it did, as an async-iterable log.
        outward, inward: the agents it may write to, and those that may write to it, by address.
        pid: its program's process id on its machine; 0 until it has reported.
        usage: what its model has used so far.
        status: ``starting``, ``busy``, ``idle``, ``restarting`` or ``ended``.
        failure: what it did not mend by itself, the last time that there was something; or None.
    """

    def __init__(
        self,
        name: str,
        *,
        scope: Scope,
        runtime: Runtime,
        machine: Machine,
        harness: Harness,
        settings: AgentSettings,
    ) -> None:
        self.name = name
        self.address = runtime.claim_address(name)
        self.machine = machine
        self.usage = Usage()
        self.status: Status = "starting"
        self.model = settings.model or ""
        self.pid = 0
        self.events = EventStream(
            log=runtime.journal.agent_log(self.address),
            process=scope.id,
            agent=self.address,
            observe=runtime.plugins.observe,
        )
        self.settings = settings
        self.outward: dict[str, Agent] = {}
        self.inward: dict[str, Agent] = {}
        self._scope = scope
        self._runtime = runtime
        self._toolbox = Toolbox(scope, self.events)
        self._tools_changed = False
        self._lifecycle = Lifecycle(
            self.address,
            machine=machine,
            harness=harness,
            settings=settings,
            runtime=runtime,
            observer=self,
        )
        self._changed: asyncio.Event | None = None  # there only while somebody waits
        self._outbox = Outbox(self._lifecycle.tell, self.events)
        self._ask_ids = count(1)
        self._silence = Silence(settings, self._toolbox)
        self._idle_since: float | None = None
        self._nudged = 0
        self._ending: Ending | None = None
        self._remembers = False
        self._broken_off = False
        self.failure: AgentError | None = None

    def __repr__(self) -> str:
        return f"<Agent {self.address!r} on {self.machine.name}: {self.status}>"

    # --- tools

    def on(
        self, tool_name: str, *, description: str | None = None, timeout: float | None = None
    ) -> Callable[[Handler], Handler]:
        """Register a function as a tool of the agent.

        The model sees the function's docstring and a JSON Schema made from its annotations; calls
        are validated against them. Handlers run concurrently, belong to the process in which
        ``on`` ran, and may call ``done``, ``fail``, ``emit`` and ``spawn`` of it.

        Args:
            tool_name: letters, digits, ``_`` and ``-``.
            description: in place of the docstring.
            timeout: seconds after which the handler is cancelled and the agent told so.

        Raises:
            InvalidTool: the function or the name cannot be used.
        """
        _check_name(tool_name)

        def register(handler: Handler) -> Handler:
            tool = Tool.of(handler, name=tool_name, description=description, timeout=timeout)
            self.offer(tool)
            return handler

        return register

    def offer(self, tool: Tool) -> None:
        """Offer a tool that is already made.

        It belongs to the current process; outside any, to the agent's.

        Raises:
            InvalidTool: its name belongs to a built-in tool.
        """
        _check_name(tool.name)
        self.add(tool)

    def offer_all(self, tools: Sequence[Tool], source: Scope) -> None:
        """Offer the endpoints of a process as tools: all, or none.

        Raises:
            InvalidTool: a name belongs to another tool.
        """
        for tool in tools:
            _check_name(tool.name)
            if self._toolbox.taken(tool.name, source):
                raise InvalidTool(f"tool {tool.name!r}: {self.address!r} has one of this name")
        for tool in tools:
            self.add(tool, source)

    @on_the_loop
    def add(self, tool: Tool, source: Scope | None = None) -> None:
        """Offer a tool, whatever its name is (for the built-in ones).

        Args:
            tool: what the agent may call.
            source: the process whose endpoint it is; None where it is no endpoint.
        """
        scope, context = current.get(None), copy_context()
        if scope is None or not scope.open:
            scope = self._scope
            context.run(current.set, scope)
        self._toolbox.add(Offer(tool, scope, context, source))
        self._tools_changed = True
        self._runtime.tasks.start_soon(self._announce_later)

    def withdraw(self, tool_name: str) -> None:
        """Offer a tool no longer."""
        self._toolbox.remove(tool_name)
        self._tools_changed = True
        self._announce_tools()

    async def _announce_later(self) -> None:
        # A program registers its tools one after the other: the agent hears of them once.
        try:
            self._announce_tools()
        except AgentError as error:
            self._fail(error)

    def _announce_tools(self) -> None:
        if self._tools_changed and self._lifecycle.life is not None:
            self._lifecycle.tell(protocol.Tools(tools=self._toolbox.definitions()))
            self._tools_changed = False

    # --- talking to it

    async def send(self, message: str) -> None:
        """Send a message to the agent; returns once its program holds it.

        The agent reads it at its next opportunity: the event ``taken`` tells when. Every tool
        registered before is visible to it by then.

        Raises:
            AgentEnded: it has ended already.
            AgentDied: it ended before it had the message.
            AgentError: the message is too large, or too much is waiting for it.
        """
        self._nudged = 0
        delivery = self.deliver(message)
        with anyio.move_on_after(None) as patience:
            while not delivery.queued.is_set():
                self.raise_if_ended()
                # A connection that is down has its own, longer bound: the lease.
                if not self._lifecycle.connected:
                    patience.deadline = math.inf
                elif patience.deadline == math.inf:
                    patience.deadline = anyio.current_time() + DELIVERY_TIMEOUT
                await self.next_change()
        if not delivery.queued.is_set():
            raise self.error(
                AgentDied, f"it did not take a message over within {DELIVERY_TIMEOUT:g} s"
            )
        if delivery.lost is not None:
            raise self.error(AgentError, delivery.lost.reason)

    def deliver(self, message: str) -> Delivery:
        """Put a message on its way without waiting for anything.

        Raises:
            AgentEnded: it has ended already.
            AgentError: the message is too large, or too much is waiting for it.
            UsageError: the message is no text.
        """
        _check_text("send", message)
        self.raise_if_ended()
        if burden := self._outbox.burden(message):
            raise self.error(AgentError, f"it takes no messages: {burden}")
        self._announce_tools()
        if self.idle:
            self._silence.end()
        return self._outbox.post(message)

    @overload
    async def ask(self, message: str, *, timeout: float | None = None) -> str: ...
    @overload
    async def ask(
        self, message: str, answer_type: type[T], *, timeout: float | None = None
    ) -> T: ...
    async def ask(
        self, message: str, answer_type: Any = str, *, timeout: float | None = None
    ) -> Any:
        """Ask the agent and get a typed answer.

        It answers by a tool made for this question, whose argument has the type you name (anything
        that a tool's argument may be); a wrong answer is sent back to it.

        Args:
            message: the question.
            answer_type: what the answer is to be.
            timeout: seconds; None waits until it answers, goes idle or ends.

        Raises:
            NoAnswer: it went idle without an answer, or the time ran out; where it failed
                meanwhile, caused by that.
            AgentEnded, AgentDied: as for ``send``.
        """
        _check_text("ask", message)
        return await Question(self, next(self._ask_ids), answer_type).put(message, timeout)

    async def interrupt(self) -> None:
        """Abort what it is doing now; it keeps its conversation and waits for a message."""
        self.raise_if_ended()
        self._lifecycle.tell(protocol.Interrupt())

    # --- its terminal

    async def screen(self) -> str:
        """What its terminal shows now, or showed last."""
        if self._ending is not None:
            return self._ending.screen
        return await self._lifecycle.screen()

    @property
    def terminal(self) -> Terminal | None:
        """How a person sees its terminal; None where it has none or has ended."""
        life = self._lifecycle.life
        return life.session.terminal if life is not None else None

    # --- state

    @property
    def incarnation(self) -> int:
        """How often its program has been started."""
        return self._lifecycle.incarnation

    @property
    def ending(self) -> Ending | None:
        """How its program ended for good; None as long as it has not."""
        return self._ending

    @property
    def idle(self) -> bool:
        """True where it has nothing to do: its turn is over and no message or call is pending."""
        return self.status == "idle" and not self._outbox and not self._toolbox.busy

    @property
    def idle_seconds(self) -> float | None:
        """Seconds since it went idle; None where it is not."""
        return time.monotonic() - self._idle_since if self.idle and self._idle_since else None

    def describe(self) -> dict[str, Json]:
        """What ``ramure status`` shows of it."""
        usage, life = self.usage, self._lifecycle.life
        idle = self.idle_seconds
        return {
            "name": self.name,
            "address": self.address,
            "machine": self.machine.name,
            "status": self.status,
            "idle_seconds": None if idle is None else round(idle, 1),
            "model": self.model,
            "pid": self.pid,
            "incarnation": self._lifecycle.incarnation,
            "connected": self._lifecycle.connected,
            "tokens": {"input": usage.input, "output": usage.output},
            "cost": usage.cost,
            "connections": cast("list[Json]", sorted(self.outward)),
            "session": life.session.describe() if life else {},
        }

    def changed(self) -> None:
        """Wake whoever waits for a change of this agent."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def next_change(self) -> None:
        """Wait until something about this agent changes."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    def raise_if_ended(self) -> None:
        """Say so where it has ended already.

        Raises:
            AgentEnded: it was to.
            AgentDied: it was not.
        """
        if self.status == "ended":
            ending = self._ending
            reason = f"it has ended: {ending.reason}" if ending else "it has ended"
            kind = AgentEnded if ending is None or ending.expected else AgentDied
            raise self.error(kind, reason, screen=ending.screen if ending else "")

    def error(self, kind: type[AgentError], reason: str, screen: str = "") -> AgentError:
        """What happened to it, as an error with its names and its last ``screen``."""
        return kind(reason, agent=self.address, machine=self.machine.name, screen=screen)

    # --- what its program says

    def hear(self, message: protocol.FromAgent) -> None:
        """A message from the agent's program (called by its lifecycle)."""
        self._silence.hear(message)
        match message:
            case protocol.Call():
                self._on_call(message)
            case protocol.Cancel():
                self._toolbox.abort(message.call)
            case protocol.Activity():
                self.events.emit(message.type, message.data)
            case protocol.State():
                self._on_state(message.state)
            case protocol.Queued():
                self._outbox.queued(message.id)
            case protocol.Taken():
                self._outbox.taken(message.id)
            case protocol.Used():
                self._on_usage(message)
            case protocol.Failure():
                self._on_model_failure(message)
            case protocol.Ready():
                self._on_ready(message)
            case protocol.Bye():
                self.events.emit("bye", {"reason": message.reason})
        self.changed()

    def _on_call(self, call: protocol.Call) -> None:
        self._nudged = 0
        life = self._lifecycle.life
        # Answered where it came from: another life of the agent counts its calls anew.
        answer = life.channel.send if life else self._lifecycle.tell

        def reply(result: protocol.Result) -> None:
            self._silence.end()
            answer(result)

        self._toolbox.call(call, reply)

    def _on_ready(self, ready: protocol.Ready) -> None:
        self.pid = ready.pid
        self.model = ready.model or self.model
        self._remembers = ready.remembers
        self.events.emit(
            "ready",
            {"harness": ready.harness, "version": ready.version, "model": ready.model},
        )

    def _on_state(self, state: str) -> None:
        if state not in ("busy", "idle") or self.status == "ended":
            return
        self.status = "busy" if state == "busy" else "idle"
        self._silence.forget_tools()
        self._idle_since = None
        if state == "idle":
            self._idle_since = time.monotonic()
            self._outbox.settled()
        self.events.emit(state, None)
        self._scope.emit(f"agent_{state}", {"agent": self.name})

    def _on_usage(self, used: protocol.Used) -> None:
        usage = Usage(used.input, used.output, used.cache_read, used.cache_write, used.cost)
        self.usage += usage
        self._runtime.usage += usage
        self.model = used.model or self.model
        self.events.emit(
            "usage",
            {"model": used.model, "input": used.input, "output": used.output, "cost": used.cost},
        )

    def _on_model_failure(self, failure: protocol.Failure) -> None:
        self.events.emit("model_failed", {"message": failure.message, "final": failure.final})
        if failure.final and self.status != "starting":
            self._fail(self.error(ModelFailed, f"its model failed: {failure.message}"))

    # --- what becomes of its program (called by its lifecycle)

    def link(self, connected: bool) -> None:
        """The connection to its program came or went."""
        self.events.emit("connected" if connected else "disconnected", None)
        self.changed()

    def restarting(self, reason: str) -> None:
        """Its program is gone and is about to be started again."""
        self._broken_off |= self.status == "busy" or self._outbox.at_work
        self.status = "restarting"
        self._toolbox.abort_all()
        self._silence.forget_tools()
        self.events.emit("restarting", {"reason": reason})
        self.changed()

    def restarted(self, reason: str) -> None:
        """Its program runs again: it goes on with its work, and gets what it missed."""
        self._come_up()
        self.events.emit("restarted", {"incarnation": self._lifecycle.incarnation})
        resumed = self._resume()
        about = {"agent": self.name, "reason": reason, "resumed": resumed}
        self._scope.emit("agent_restarted", about)
        if lost := self._outbox.post_again():
            self._fail(self.error(AgentError, f"it lost a message: {lost.reason}"))
        self.changed()

    def _resume(self) -> bool:
        """Where its last program ended in the middle of a turn, let it go on with that."""
        if not self._broken_off:
            return False
        self._broken_off = False
        messages = self._outbox.resume(remembers=self._remembers)
        self.events.emit("resumed", {"remembers": self._remembers, "messages": messages})
        return True

    def lost(self, ending: Ending) -> None:
        """Its program is gone for good."""
        self._conclude(ending)
        self._fail(self.error(AgentDied, f"it died: {ending.reason}", ending.screen))

    def _fail(self, error: AgentError) -> None:
        """Something happened that this agent will not mend by itself."""
        self.failure = error
        self.changed()
        self._scope.emit("agent_failed", {"agent": self.name, "error": error.reason})
        if self.settings.on_failure != "ignore":
            self._scope.crash(error)

    def tend(self, now: float, *, waiting: bool) -> None:
        """Look after it: called a few times a second with ``time.monotonic()``.

        ``waiting``: its process sits in ``wait()``.
        """
        self._lifecycle.tend(now)
        if self.status not in ("busy", "idle"):
            return
        if not self.idle:
            if stalled := self._silence.too_long(now):
                self._fail(self.error(AgentStalled, stalled))
        elif waiting:
            self._nudge(now)

    def _nudge(self, now: float) -> None:
        nudge, since = self.settings.nudge, self._idle_since
        if nudge is None or since is None or self._nudged >= nudge.limit:
            return
        if now - since >= nudge.after:
            self._nudged += 1
            self.events.emit("nudged", {"times": self._nudged})
            self.deliver(nudge.text)

    # --- its life

    async def start(self) -> None:
        """Start its program and wait until it has reported. Called once, by the process.

        Raises:
            AgentStartFailed: it never came up; everything it had started is gone again.
        """
        try:
            await self._lifecycle.start()
        except BaseException as error:
            self._conclude(Ending(f"it was not started: {error}", expected=True))
            raise
        self._come_up()

    def _come_up(self) -> None:
        self._silence.end()
        if self.status in ("starting", "restarting"):
            self.status = "idle"
            self._idle_since = time.monotonic()
        self._tools_changed = True
        self._announce_tools()

    async def stop(self) -> None:
        """End the agent's program and remove what it left. Its machine and log stay. Idempotent."""
        await self._lifecycle.stop()
        self._toolbox.abort_all()
        self._conclude(Ending("it was stopped", expected=True))

    def _conclude(self, ending: Ending) -> None:
        if self.status == "ended":
            return
        self.status = "ended"
        self._ending = ending
        self.events.emit("ended", {"reason": ending.reason, "exit_code": ending.exit_code})
        self.events.close()
        for peer in self.inward.values():
            peer.outward.pop(self.address, None)
        for peer in self.outward.values():
            peer.inward.pop(self.address, None)
        self._runtime.release_address(self.address)
        self.changed()


def _check_name(tool: str) -> None:
    if tool in PEER_TOOLS:
        raise InvalidTool(f"tool {tool!r}: the name belongs to a built-in tool")


def _check_text(what: str, message: object) -> None:
    if not isinstance(message, str):
        cure = "decode() it" if isinstance(message, bytes) else "give text"
        raise UsageError(f"{what}(): a message is a str, not a {type(message).__name__}: {cure}")
