"""``Agent``: a coding agent on a machine, as a program sees it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, TypeVar, cast, overload

import anyio

from ramure.cancellation import complete, finish
from ramure.errors import (
    AgentDied,
    AgentEnded,
    AgentError,
    AgentStalled,
    AgentStartFailed,
    InvalidTool,
    ModelFailed,
    NoAnswer,
    RamureError,
)
from ramure.events import Event, EventStream
from ramure.harness import Harness
from ramure.machine import Command, LocalPath, Machine
from ramure.run import protocol
from ramure.run.runtime import LEASE_ELSEWHERE, LEASE_HERE, Life, Runtime
from ramure.scope import Scope, current
from ramure.toolbox import Offer, Toolbox
from ramure.tools import Tool
from ramure.values import AgentSpec, Ending, ExecResult, Json, Terminal, Usage

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Any])
OnFailure = Literal["fail", "ignore", "restart"]
Status = Literal["starting", "busy", "idle", "restarting", "ended"]

START_TIMEOUT = 120.0
"""Seconds from starting an agent's program to its first word."""

STALL_TIMEOUT = 900.0
"""Seconds that a working model may be silent. Long thinking comes without a word."""

DELIVERY_TIMEOUT = 60.0
"""Seconds in which a connected bridge takes a message over."""

LINK_GRACE = 5.0
"""Seconds beyond the lease after which an agent without a connection is given up."""

STOPPING = 20.0
"""Seconds that ending one agent's program may take."""

RESTARTS, RESTART_PERIOD = 3, 300.0
"""More restarts than this within so many seconds are a failure (as OTP's intensity and period)."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """What to say to an agent that went idle while its process waits.

    Attributes:
        text: the message.
        after: seconds of idleness before it.
        limit: how often at the most, in a row.
    """

    text: str
    after: float = 30.0
    limit: int = 3


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How one agent is to be; see ``ramure.agent`` for what each means."""

    system_prompt: str | None = None
    model: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_failure: OnFailure = "fail"
    start_timeout: float = START_TIMEOUT
    stall_timeout: float | None = STALL_TIMEOUT
    nudge: Nudge | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Delivery:
    """A message on its way: held by the bridge once ``queued``, with the model once ``taken``."""

    message: protocol.Deliver
    queued: anyio.Event = field(default_factory=anyio.Event)


class Agent:
    """A coding agent on a machine. Made by ``await ramure.agent(…)``.

    Attributes:
        name: unique in its process.
        address: unique in its run; what the CLI, the logs and messages call it.
        machine: where it works.
        events: everything it did, as an async-iterable log.
        outward, inward: the agents it may write to, and those that may write to it, by address.
        usage: what its model has used so far.
        status: ``starting``, ``busy``, ``idle``, ``restarting`` or ``ended``.
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
        self.incarnation = 0
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
        self._harness = harness
        self._toolbox = Toolbox(self.events)
        self._tools_changed = False
        self._life: Life | None = None
        self._ready = anyio.Event()
        self._problem = ""
        self._changed = anyio.Event()
        self._deliveries: dict[str, _Delivery] = {}
        self._message_ids = count(1)
        self._ask_ids = count(1)
        self._tools_in_flight = 0
        self._heard = time.monotonic()
        self._unlinked_since: float | None = None
        self._idle_since: float | None = None
        self._nudged = 0
        self._restarts: list[float] = []
        self._ending: Ending | None = None
        self._stopping = False

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
        if tool_name in PEER_TOOLS:
            raise InvalidTool(f"tool {tool_name!r}: the name belongs to a built-in tool")

        def register(handler: Handler) -> Handler:
            tool = Tool.of(handler, name=tool_name, description=description, timeout=timeout)
            self.offer(tool)
            return handler

        return register

    def offer(self, tool: Tool) -> None:
        """Offer a tool that is already made; it belongs to the current process."""
        scope = current.get(None)
        owner = scope if scope is not None and scope.open else self._scope
        self._toolbox.add(Offer(tool, owner, copy_context()))
        self._tools_changed = True
        self._runtime.tasks.start_soon(self._announce_later)

    def withdraw(self, tool_name: str) -> None:
        """Offer a tool no longer."""
        self._toolbox.remove(tool_name)
        self._tools_changed = True
        self._announce_tools()

    async def _announce_later(self) -> None:
        # A program registers its tools one after the other: the agent hears of them once.
        self._announce_tools()

    def _announce_tools(self) -> None:
        if self._tools_changed and self._life is not None:
            self._tools_changed = False
            self._tell(protocol.Tools(tools=self._toolbox.definitions()))

    def _tell(self, message: protocol.FromRun) -> None:
        if self._life is not None and self.status != "ended":
            self._life.channel.send(message)

    # --- talking to it

    async def send(self, message: str) -> None:
        """Send a message to the agent; returns once its program holds it.

        The agent reads it at its next opportunity: the event ``taken`` tells when. Every tool
        registered before is visible to it by then.

        Raises:
            AgentEnded: it has ended already.
            AgentDied: it ended before it had the message.
        """
        delivery = self.deliver(message)
        waiting = delivery.queued
        with anyio.move_on_after(None) as patience:
            while not waiting.is_set():
                self._raise_if_ended()
                # A connection that is down has its own, longer bound: the lease.
                linked = self._life is not None and self._life.channel.connected
                patience.deadline = anyio.current_time() + DELIVERY_TIMEOUT if linked else anyio.inf
                await self._next_change()
        if not waiting.is_set():
            raise self._error(
                AgentDied, f"it did not take a message over within {DELIVERY_TIMEOUT:g} s"
            )

    def deliver(self, message: str) -> _Delivery:
        """Put a message on its way without waiting for anything."""
        self._raise_if_ended()
        self._announce_tools()
        number = f"m{next(self._message_ids)}"
        delivery = _Delivery(protocol.Deliver(id=number, text=message))
        self._deliveries[number] = delivery
        self.events.emit("message_sent", {"id": number, "text": message})
        self._tell(delivery.message)
        return delivery

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
            NoAnswer: it went idle without an answer, or the time ran out.
            AgentEnded, AgentDied: as for ``send``.
        """
        tool_name = f"answer_{next(self._ask_ids)}"
        answers: list[Any] = []

        async def answer(answer: Any) -> str:
            answers.append(answer)
            self._change()
            return "Answer taken."

        answer.__annotations__["answer"] = answer_type
        about = "Give your answer to the question that names this tool."
        self.offer(Tool.of(answer, name=tool_name, description=about))
        try:
            with anyio.move_on_after(timeout):
                await self.send(f"{message}\n\nGive your answer by calling {tool_name}(answer).")
                while not answers:
                    self._raise_if_ended()
                    if self.idle:
                        raise self._error(NoAnswer, "it went idle without an answer")
                    await self._next_change()
        finally:
            if self.status != "ended":
                self.withdraw(tool_name)
        if not answers:
            raise self._error(NoAnswer, f"it gave no answer within {timeout:g} s")
        return answers[0]

    async def interrupt(self) -> None:
        """Abort what it is doing now; it keeps its conversation and waits for a message."""
        self._raise_if_ended()
        self._tell(protocol.Interrupt())

    # --- its machine

    async def exec(self, command: Command, **options: Any) -> ExecResult:
        """Run a command on the agent's machine, in its working directory; see ``Machine.exec``."""
        options.setdefault("cwd", self.settings.cwd)
        return await self.machine.exec(command, **options)

    async def upload(self, local: LocalPath, remote: str) -> None:
        """Copy a file or folder from this computer to the agent's machine."""
        await self.machine.upload(local, self.path(remote))

    async def download(self, remote: str, local: LocalPath) -> None:
        """Copy a file or folder from the agent's machine to this computer."""
        await self.machine.download(self.path(remote), local)

    async def read_file(self, path: str) -> bytes:
        """Read a file on the agent's machine."""
        return await self.machine.read_file(self.path(path))

    async def write_file(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """Write a file on the agent's machine."""
        await self.machine.write_file(self.path(path), data, mode=mode)

    def path(self, path: str) -> str:
        """A path as the agent means it: relative to its own working directory."""
        if path.startswith("/") or not self.settings.cwd:
            return path
        return f"{self.settings.cwd.rstrip('/')}/{path}"

    # --- its terminal

    async def screen(self) -> str:
        """What its terminal shows now, or showed last."""
        if self._ending is not None:
            return self._ending.screen
        return await self._life.session.screen() if self._life else ""

    @property
    def terminal(self) -> Terminal | None:
        """How a person sees its terminal; None where it has none or has ended."""
        return self._life.session.terminal if self._life and self.status != "ended" else None

    # --- state

    @property
    def idle(self) -> bool:
        """True where it has nothing to do: its turn is over and no message or call is pending."""
        return self.status == "idle" and not self._deliveries and not self._toolbox.busy

    @property
    def idle_seconds(self) -> float | None:
        """Seconds since it went idle; None where it is not."""
        return time.monotonic() - self._idle_since if self.idle and self._idle_since else None

    def describe(self) -> dict[str, Json]:
        """What ``ramure status`` shows of it."""
        usage = self.usage
        idle = self.idle_seconds
        return {
            "name": self.name,
            "address": self.address,
            "machine": self.machine.name,
            "status": self.status,
            "idle_seconds": None if idle is None else round(idle, 1),
            "model": self.model,
            "incarnation": self.incarnation,
            "connected": bool(self._life and self._life.channel.connected),
            "tokens": {"input": usage.input, "output": usage.output},
            "cost": usage.cost,
            "connections": cast("list[Json]", sorted(self.outward)),
            "session": self._life.session.describe() if self._life else {},
        }

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _next_change(self) -> None:
        await self._changed.wait()

    def _raise_if_ended(self) -> None:
        if self.status == "ended":
            ending = self._ending
            reason = f"it has ended: {ending.reason}" if ending else "it has ended"
            kind = AgentEnded if ending is None or ending.expected else AgentDied
            raise self._error(kind, reason, screen=ending.screen if ending else "")

    def _error(self, kind: type[AgentError], reason: str, screen: str = "") -> AgentError:
        return kind(reason, agent=self.address, machine=self.machine.name, screen=screen)

    # --- what its program says

    def _on_message(self, message: protocol.FromAgent) -> None:
        self._heard = time.monotonic()
        match message:
            case protocol.Call():
                self._toolbox.call(message, self._tell)
            case protocol.Cancel():
                self._toolbox.abort(message.call)
            case protocol.Activity():
                self._on_activity(message)
            case protocol.State():
                self._on_state(message.state)
            case protocol.Queued():
                if delivery := self._deliveries.get(message.id):
                    delivery.queued.set()
            case protocol.Taken():
                if taken := self._deliveries.pop(message.id, None):
                    taken.queued.set()
                    self.events.emit("taken", {"id": message.id})
            case protocol.Used():
                self._on_usage(message)
            case protocol.Failure():
                self._on_model_failure(message)
            case protocol.Ready():
                self._on_ready(message)
            case protocol.Bye():
                self.events.emit("bye", {"reason": message.reason})
        self._change()

    def _on_ready(self, ready: protocol.Ready) -> None:
        self._problem = ready.problem
        self.model = ready.model or self.model
        self.events.emit(
            "ready",
            {"harness": ready.harness, "version": ready.version, "model": ready.model},
        )
        self._ready.set()

    def _on_activity(self, activity: protocol.Activity) -> None:
        if activity.type == "tool_start":
            self._tools_in_flight += 1
        elif activity.type == "tool_end":
            self._tools_in_flight = max(0, self._tools_in_flight - 1)
        self.events.emit(activity.type, activity.data)

    def _on_state(self, state: str) -> None:
        if state not in ("busy", "idle") or self.status == "ended":
            return
        self.status = "busy" if state == "busy" else "idle"
        self._tools_in_flight = 0
        self._idle_since = time.monotonic() if state == "idle" else None
        if state == "busy":
            self._nudged = self._nudged or 0
        self.events.emit(state, None)
        self._scope.emit(f"agent_{state}", {"agent": self.name})

    def _on_usage(self, used: protocol.Used) -> None:
        usage = Usage(used.input, used.output, used.cache_read, used.cache_write, used.cost)
        self.usage += usage
        self.model = used.model or self.model
        self.events.emit(
            "usage",
            {"model": used.model, "input": used.input, "output": used.output, "cost": used.cost},
        )

    def _on_model_failure(self, failure: protocol.Failure) -> None:
        self.events.emit("model_failed", {"message": failure.message, "final": failure.final})
        if failure.final and self._ready.is_set():
            self._fail(self._error(ModelFailed, f"its model failed: {failure.message}"))

    def _on_link(self, connected: bool) -> None:
        if self.status == "ended":
            return
        self._unlinked_since = None if connected else time.monotonic()
        if self._ready.is_set():
            self.events.emit("connected" if connected else "disconnected", None)
        self._change()

    def _fail(self, error: AgentError) -> None:
        """Something happened that this agent will not mend by itself."""
        self._scope.emit("agent_failed", {"agent": self.name, "error": error.reason})
        if self.settings.on_failure != "ignore":
            self._scope.crash(error)

    def tend(self, now: float, *, waiting: bool) -> None:
        """Look after it: called a few times a second with ``time.monotonic()``.

        ``waiting``: its process sits in ``wait()``.
        """
        if self._life is None or self.status in ("ended", "restarting"):
            return
        lease = LEASE_HERE if self.machine.here else LEASE_ELSEWHERE
        if self._unlinked_since and now - self._unlinked_since > lease + LINK_GRACE:
            self._unlinked_since = None
            reason = f"nothing was heard of it for {lease + LINK_GRACE:g} s"
            self._runtime.tasks.start_soon(self._lost, Ending(reason))
        stall = self.settings.stall_timeout
        if stall and self.status == "busy" and now - self._heard > stall:
            if not self._tools_in_flight and not self._toolbox.busy:
                self._heard = now
                self._fail(self._error(AgentStalled, f"its model said nothing for {stall:g} s"))
        nudge = self.settings.nudge
        if nudge and waiting and self.idle and self._idle_since and self._nudged < nudge.limit:
            if now - self._idle_since >= nudge.after:
                self._nudged += 1
                self.events.emit("nudged", {"times": self._nudged})
                self.deliver(nudge.text)

    # --- its lives

    async def start(self) -> None:
        """Start its program and wait until it has reported. Called once, by the process.

        Raises:
            AgentStartFailed: it never came up; everything it had started is gone again.
        """
        try:
            await self._begin_life()
        except BaseException:
            self._conclude(Ending("it was not started", expected=True))
            raise

    async def _begin_life(self) -> None:
        self.incarnation += 1
        self._ready = anyio.Event()
        self._problem = ""
        self._heard = time.monotonic()
        spec = await self._spec()
        life = await complete(
            self._runtime.tasks,
            lambda: self._runtime.launch(
                self.machine,
                self._harness,
                spec,
                on_message=self._on_message,
                on_link=self._on_link,
            ),
            undo=self._end_life,
        )
        self._life = life
        try:
            await self._come_up(life)
        except BaseException:
            self._life = None
            await finish(self._runtime.tasks, self._end_life, life)
            raise
        if self.status in ("starting", "restarting"):
            self.status = "idle"
            self._idle_since = time.monotonic()
        self._runtime.tasks.start_soon(self._watch, life)

    async def _spec(self) -> AgentSpec:
        state_dir = f"{self.machine.state_dir}/agents/{self.address}"
        made = await self.machine.exec(["mkdir", "-p", "-m", "700", state_dir])
        where = await self.machine.exec("pwd -P", cwd=self.settings.cwd, check=True)
        if not made.ok:
            raise self._error(AgentStartFailed, f"cannot make {state_dir}: {made.stderr.strip()}")
        return AgentSpec(
            run=self._runtime.id,
            address=self.address,
            token=secrets.token_urlsafe(32),
            state_dir=state_dir,
            cwd=where.stdout.rstrip("\n"),
            incarnation=self.incarnation,
            system_prompt=self.settings.system_prompt,
            model=self.settings.model,
            env=self.settings.env,
            lease=LEASE_HERE if self.machine.here else LEASE_ELSEWHERE,
            options=self.settings.options,
        )

    async def _come_up(self, life: Life) -> None:
        """Wait for the program's first word, its end, or the end of patience."""
        self._tools_changed = True
        self._announce_tools()
        timeout = self.settings.start_timeout
        ending: Ending | None = None
        async with anyio.create_task_group() as race:

            async def watch() -> None:
                nonlocal ending
                ending = await life.session.wait()
                race.cancel_scope.cancel()

            race.start_soon(watch)
            with anyio.move_on_after(timeout):
                await self._ready.wait()
            race.cancel_scope.cancel()
        if ending is not None:
            reason = f"its program ended at once: {ending.reason}"
            raise self._error(AgentStartFailed, reason, ending.screen)
        if not self._ready.is_set():
            reason = f"its program did not report within {timeout:g} s"
            raise self._error(AgentStartFailed, reason, await life.session.screen())
        if self._problem:
            screen = await life.session.screen()
            raise self._error(AgentStartFailed, self._problem, screen)

    async def _end_life(self, life: Life, reason: str = "the run ends it") -> None:
        with anyio.move_on_after(STOPPING) as patience:
            self._runtime.retire(life.channel, reason)
            await life.session.stop()
        if patience.cancelled_caught:
            self._runtime.journal.record("cleanup_failed", {"what": f"stopping {self.address}"})

    async def _watch(self, life: Life) -> None:
        ending = await life.session.wait()
        if life is self._life and not self._stopping:
            await self._lost(ending)

    async def _lost(self, ending: Ending) -> None:
        """Its program is gone, or out of reach for good."""
        life = self._life
        if life is None or self._stopping:
            return
        self._life = None
        self._toolbox.abort_all()
        screen = ending.screen or await life.session.screen()
        ending = Ending(ending.reason, ending.exit_code, screen)
        await self._end_life(life)
        if self.settings.on_failure == "restart" and self._may_restart():
            await self._restart(ending)
        else:
            self._conclude(ending)
            self._fail(self._error(AgentDied, f"it died: {ending.reason}", ending.screen))

    def _may_restart(self) -> bool:
        now = time.monotonic()
        self._restarts = [t for t in self._restarts if now - t < RESTART_PERIOD]
        self._restarts.append(now)
        return len(self._restarts) <= RESTARTS

    async def _restart(self, ending: Ending) -> None:
        """Start its program again: it goes on with its conversation, and gets what it missed."""
        self.status = "restarting"
        self._change()
        self.events.emit("restarting", {"reason": ending.reason})
        await anyio.sleep(min(2.0 ** (len(self._restarts) - 1), 30.0))
        if self._stopping:
            return
        try:
            await self._begin_life()
        except RamureError as error:
            if not self._stopping:
                await self._lost_again(error)
            return
        self._scope.emit("agent_restarted", {"agent": self.name, "reason": ending.reason})
        self.events.emit("restarted", {"incarnation": self.incarnation})
        for delivery in list(self._deliveries.values()):
            self._tell(delivery.message)

    async def _lost_again(self, error: RamureError) -> None:
        if self._may_restart():
            await self._restart(Ending(str(error)))
        else:
            self._conclude(Ending(str(error)))
            self._fail(self._error(AgentDied, f"it could not be restarted: {error}"))

    async def stop(self) -> None:
        """End the agent's program and remove what it left. Its machine and log stay. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        life, self._life = self._life, None
        if life is not None:
            await finish(self._runtime.tasks, self._end_life, life)
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
        self._change()


PEER_TOOLS = frozenset({"message", "send_file", "download_file"})
"""Names of the built-in tools, offered to agents that ``connect`` has joined to others."""

__all__ = ["Agent", "AgentSettings", "Awaitable", "Event", "Nudge", "OnFailure"]
