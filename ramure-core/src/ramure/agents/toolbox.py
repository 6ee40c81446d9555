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
from ramure.scope import Scope
from ramure.tools import Tool

SHOWN = 2_000
"""Characters of a tool's result that the agent's log keeps."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool, the process it belongs to, and the context that was current when it was made."""

    tool: Tool
    scope: Scope
    context: Context


class Toolbox:
    """What one agent can call. Calls run concurrently, each as a task of its tool's process."""

    def __init__(self, events: EventStream) -> None:
        self._events = events
        self._offers: dict[str, Offer] = {}
        self._running: dict[str, Interruption] = {}

    def add(self, offer: Offer) -> None:
        """Offer a tool; one of the same name is replaced."""
        self._offers[offer.tool.name] = offer

    def remove(self, name: str) -> None:
        """Offer it no longer; its running calls go on."""
        self._offers.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._offers

    @property
    def busy(self) -> bool:
        """True while a call is running."""
        return bool(self._running)

    def definitions(self) -> list[ToolDef]:
        """All tools, as the model sees them."""
        return [
            ToolDef(offer.tool.name, offer.tool.description, offer.tool.parameters)
            for offer in self._offers.values()
        ]

    def call(self, call: Call, reply: Callable[[Result], None]) -> None:
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

    def _start(self, call: Call, offer: Offer, reply: Callable[[Result], None]) -> None:
        try:
            self._running[call.call] = offer.scope.start(
                lambda: self._run(call, offer, reply), offer.context
            )
        except Exception as error:  # noqa: BLE001 whatever it is, the call has to have an answer
            text = f"the tool {call.tool!r} could not be started: {error!r}"
            self._answer(call, reply, ok=False, text=text)

    async def _run(self, call: Call, offer: Offer, reply: Callable[[Result], None]) -> None:
        try:
            outcome = await offer.tool.run(call.arguments)
            self._answer(call, reply, ok=outcome.ok, text=outcome.text)
        except CancelledError:
            if call.call in self._running:  # not aborted by the agent
                text = f"cancelled: the process {offer.scope.name!r} has ended"
                self._answer(call, reply, ok=False, text=text)
            raise
        finally:
            self._running.pop(call.call, None)

    def _answer(self, call: Call, reply: Callable[[Result], None], *, ok: bool, text: str) -> None:
        self._events.emit("tool_result", {"call": call.call, "ok": ok, "text": text[:SHOWN]})
        try:
            reply(Result(call=call.call, ok=ok, text=text))
        except AgentError as error:
            self._events.emit("tool_result_lost", {"call": call.call, "error": error.reason})

    def abort(self, call: str) -> None:
        """The agent no longer waits for this call: cancel its handler."""
        if running := self._running.pop(call, None):
            self._events.emit("tool_aborted", {"call": call})
            running.cancel()

    def abort_all(self) -> None:
        """The agent's program is gone, and so is whoever waited for these calls."""
        for call in list(self._running):
            self.abort(call)
