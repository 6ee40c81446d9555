"""The tools of one agent, and the calls that are running."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from ramure.cancellation import Interruption
from ramure.errors import AgentError
from ramure.events import EventStream
from ramure.run.protocol import Call, Result, ToolDef
from ramure.scope import Calling, Scope, calling
from ramure.tools import Tool

SHOWN = 2_000
"""Characters of a tool's result that the agent's log keeps."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool, the process it belongs to, and the context that was current when it was made.

    ``source`` is the process that is called in the end, where that is another.
    """

    tool: Tool
    scope: Scope
    context: Context
    source: Scope | None = None


@dataclass(slots=True, eq=False)
class Running:
    """A call at work; ``aborted`` once the agent waits for it no longer."""

    call: Call
    scope: Scope
    reply: Callable[[Result], object]
    handler: Interruption | None = None
    aborted: bool = False


class Toolbox:
    """What one agent can call. Calls run concurrently, each as a task of its tool's process.

    Args:
        owner: the agent's process.
        events: the agent's.
    """

    def __init__(self, owner: Scope, events: EventStream) -> None:
        self._owner = owner
        self._events = events
        self._offers: dict[str, Offer] = {}
        self._running: dict[str, Running] = {}

    def add(self, offer: Offer) -> None:
        """Offer a tool; one of the same name is replaced."""
        self._offers[offer.tool.name] = offer

    def remove(self, name: str) -> None:
        """Offer it no longer; its running calls go on."""
        self._offers.pop(name, None)

    def taken(self, name: str, source: Scope) -> bool:
        """Whether the name is that of something else than a tool of ``source``, or of the dead."""
        offer = self._offers.get(name)
        return offer is not None and (
            offer.source is None or (offer.source is not source and offer.source.open)
        )

    @property
    def busy(self) -> bool:
        """True while a call is running."""
        return bool(self._running)

    @property
    def running(self) -> list[str]:
        """The tools at work, by name."""
        return [running.call.tool for running in self._running.values()]

    @property
    def excused(self) -> bool:
        """True while one may be waiting for a child process, which has bounds of its own."""
        return any(running.scope.has_children for running in self._running.values())

    def definitions(self) -> list[ToolDef]:
        """All tools, as the model sees them."""
        return [
            ToolDef(offer.tool.name, offer.tool.description, offer.tool.parameters)
            for offer in self._offers.values()
        ]

    def call(self, call: Call, reply: Callable[[Result], object]) -> None:
        """Start the handler of a call; ``reply`` gets the one answer it has."""
        self._events.emit(
            "tool_call", {"call": call.call, "tool": call.tool, "arguments": call.arguments}
        )
        offer = self._offers.get(call.tool)
        if offer is None:
            known = ", ".join(sorted(self._offers)) or "none"
            self._answer(call, reply, ok=False, text=f"no tool {call.tool!r}; there are: {known}")
        elif not offer.scope.open:
            text = f"the process {offer.scope.name!r}, which offered this tool, has ended"
            self._answer(call, reply, ok=False, text=text)
        else:
            self._start(call, offer, reply)

    def _start(self, call: Call, offer: Offer, reply: Callable[[Result], object]) -> None:
        running = Running(call, offer.scope, reply)
        self._running[call.call] = running
        try:
            running.handler = offer.scope.start(
                lambda: self._run(running, offer),
                offer.context,
                unbegun=lambda: self._cut_short(running),
            )
        except Exception as error:  # noqa: BLE001 whatever it is, the call has to have an answer
            del self._running[call.call]
            text = f"the tool {call.tool!r} could not be started: {error!r}"
            self._answer(call, reply, ok=False, text=text)

    async def _run(self, running: Running, offer: Offer) -> None:
        call, handled = running.call, Calling(self._owner)
        calling.set(handled)
        try:
            outcome = await offer.tool.run(call.arguments)
            if not running.aborted:
                final = outcome.ok and handled.final
                self._answer(call, running.reply, ok=outcome.ok, text=outcome.text, end=final)
        except CancelledError:
            self._cut_short(running)
            raise
        except GeneratorExit:
            raise
        except BaseException as error:
            if not running.aborted:
                text = f"{call.tool} ended the process {offer.scope.name!r}: {error!r}"
                self._answer(call, running.reply, ok=False, text=text)
            raise
        finally:
            self._forget(running)

    def _cut_short(self, running: Running) -> None:
        """Say that its process has ended, before the handler has or even before it began."""
        self._forget(running)
        if not running.aborted:
            text = f"cancelled: the process {running.scope.name!r} has ended"
            self._answer(running.call, running.reply, ok=False, text=text)

    def _forget(self, running: Running) -> None:
        if self._running.get(running.call.call) is running:
            del self._running[running.call.call]

    def _answer(
        self,
        call: Call,
        reply: Callable[[Result], object],
        *,
        ok: bool,
        text: str,
        end: bool = False,
    ) -> None:
        lost = ""
        try:
            reply(Result(call=call.call, ok=ok, text=text, end=end))
        except AgentError as error:
            lost = error.reason
        # Only now: the agent goes on while this is written.
        self._events.emit("tool_result", {"call": call.call, "ok": ok, "text": text[:SHOWN]})
        if lost:
            self._events.emit("tool_result_lost", {"call": call.call, "error": lost})

    def abort(self, call: str) -> None:
        """The agent no longer waits for this call: cancel its handler."""
        if running := self._running.pop(call, None):
            running.aborted = True
            self._events.emit("tool_aborted", {"call": call})
            if running.handler is not None:
                running.handler.cancel()

    def abort_all(self) -> None:
        """The agent's program is gone, and so is whoever waited for these calls."""
        for call in list(self._running):
            self.abort(call)
