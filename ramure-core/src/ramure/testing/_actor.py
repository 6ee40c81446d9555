"""The agent that a scripted harness starts: it hears messages, plays turns, and calls tools.

It behaves as a model's agent does: the calls of one turn run at the same time, their results lead
to the next turn, a message that comes meanwhile is taken up between two turns, and a passing
failure of the model is tried again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from ramure.run.protocol import Deliver, Result
from ramure.testing.bridge import BridgeClient, BridgeEndedError
from ramure.testing.playbook import Playbook
from ramure.testing.request import Message, Request, ToolResult
from ramure.testing.script import (
    BrokenJson,
    Crash,
    Delay,
    Drop,
    Exit,
    Fail,
    Finish,
    Hang,
    Part,
    Text,
    Think,
    ToolCall,
    pieces,
)
from ramure.values import Usage

HARNESS = "scripted"
LASTING = {400, 401, 403, 404}
"""The statuses of a model's failures that are not tried again."""
BROKE = "the connection to the model broke"
ATTEMPTS = 4
"""How often a failing model is asked before the agent gives up, as the real one does."""


@dataclass(frozen=True, slots=True)
class Role:
    """Whom the actor plays, and where its run is.

    Attributes:
        route: what to dial.
        agent, token, lease, system, model: as in ``AgentSpec``.
    """

    route: str
    agent: str
    token: str = field(repr=False)
    lease: float
    system: str = ""
    model: str = HARNESS


class Leaving(Exception):
    """The script ends the program.

    Attributes:
        code: its exit code, or -9 for a crash.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _ModelFailed(Exception):
    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


async def act(
    role: Role,
    playbook: Playbook,
    *,
    show: Callable[[str], None],
    record: Callable[[Exception], None],
) -> int:
    """Play an agent until its script or its run ends it; give the program's exit code.

    Args:
        role: whom to play.
        playbook: what to say.
        show: is given the lines that a terminal would show.
        record: is given what a script's function raised.
    """
    bridge = BridgeClient(role.route, agent=role.agent, token=role.token, lease=role.lease)
    async with bridge:
        actor = _Actor(role, playbook, bridge, show, record)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(actor.listen)
            tasks.start_soon(actor.obey_interrupts)
            tasks.start_soon(actor.leave_with_the_run, tasks.cancel_scope)
            await actor.work()
            tasks.cancel_scope.cancel()
    return actor.code


class _Actor:
    def __init__(
        self,
        role: Role,
        playbook: Playbook,
        bridge: BridgeClient,
        show: Callable[[str], None],
        record: Callable[[Exception], None],
    ) -> None:
        self.code = 0
        self._role = role
        self._playbook = playbook
        self._bridge = bridge
        self._show = show
        self._record = record
        self._session = secrets.token_hex(8)
        self._messages: list[Message] = []
        self._inbox: deque[Deliver] = deque()
        self._arrived = anyio.Event()
        self._turn = anyio.CancelScope()
        self._counter = 0

    # --- beside the work

    async def listen(self) -> None:
        """Put what the run sends into the inbox."""
        while True:
            try:
                self._inbox.append(await self._bridge.receive())
            except BridgeEndedError:
                return
            self._arrived.set()

    async def obey_interrupts(self) -> None:
        """Abort what is being worked on, whenever the run says so."""
        while True:
            try:
                await self._bridge.interrupted()
            except BridgeEndedError:
                return
            self._turn.cancel()

    async def leave_with_the_run(self, scope: anyio.CancelScope) -> None:
        """End the program when the run has ended it, or is out of reach for too long."""
        self._show(f"[{await self._bridge.wait_ended()}]")
        scope.cancel()

    # --- the work

    async def work(self) -> None:
        """Work on messages until the script ends the program."""
        try:
            await self._bridge.ready(harness=HARNESS, pid=os.getpid(), model=self._role.model)
            while True:
                await self._arrived.wait()
                self._bridge.state("busy")
                while self._inbox:
                    await self._work_on_inbox()
                self._bridge.state("idle")
        except Leaving as leaving:
            self.code = leaving.code
            if leaving.code >= 0:
                await self._bridge.bye(f"the script ended it with exit code {leaving.code}")
        except BridgeEndedError:
            return

    async def _work_on_inbox(self) -> None:
        with anyio.CancelScope() as self._turn:
            try:
                await self._converse()
            except _ModelFailed as failure:
                self._bridge.failure(str(failure), final=True)
        if self._turn.cancelled_caught:
            self._bridge.event("aborted")
            self._show("[aborted]")

    async def _converse(self) -> None:
        """Take turns until one has no calls."""
        going = True
        while going:
            self._take_up()
            turn = await self._ask()
            self._bridge.event("turn_start", {"turn": self._counter})
            going = await self._carry_out(turn)
            self._bridge.event("turn_end", {"turn": self._counter})

    def _take_up(self) -> None:
        self._arrived = anyio.Event()
        while self._inbox:
            message = self._inbox.popleft()
            self._bridge.taken(message)
            self._bridge.event("user", {"text": message.text})
            self._messages.append(Message("user", message.text))
            self._show(f"> {message.text}")

    # --- the model

    async def _ask(self) -> Sequence[Part]:
        """What the model says next; a passing failure is tried again."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._answer()
            except _ModelFailed as failure:
                self._show(f"[model: {failure}]")
                if failure.final or attempt == ATTEMPTS:
                    raise
                self._bridge.failure(str(failure), final=False)
        raise AssertionError

    async def _answer(self) -> Sequence[Part]:
        """One answer of the model, said aloud; its calls are still to be made."""
        self._counter += 1
        request = self._playbook.count(
            Request(
                api=HARNESS,
                model=self._role.model,
                system=self._role.system,
                messages=tuple(self._messages),
                tools=tuple(self._bridge.tools.values()),
                number=self._counter,
                agent=self._role.agent,
                session=self._session,
            )
        )
        try:
            turn = await self._playbook.next(request)
            json.dumps([call.arguments for call in turn if isinstance(call, ToolCall)])
        except Exception as error:
            self._record(error)
            raise _ModelFailed(f"the script raised {error!r}", final=True) from error
        for part in turn:
            await self._perform(part)
        return turn

    async def _perform(self, part: Part) -> None:
        match part:
            case Text() | Think():
                await self._say(part)
            case Usage():
                self._bridge.usage(
                    model=self._role.model,
                    input=part.input,
                    output=part.output,
                    cache_read=part.cache_read,
                    cache_write=part.cache_write,
                    cost=part.cost,
                )
            case Delay():
                await anyio.sleep(part.seconds)
            case Fail():
                text = f"{part.status} {part.text}"
                raise _ModelFailed(text, final=part.status in LASTING)
            case Hang(seconds=None):
                await anyio.sleep_forever()
            case Hang(seconds=float() | int() as seconds):
                await anyio.sleep(seconds)
                raise _ModelFailed(BROKE, final=False)
            case Drop():
                raise _ModelFailed(BROKE, final=False)
            case Exit():
                raise Leaving(part.code)
            case Crash():
                raise Leaving(-9)
            case ToolCall() | BrokenJson() | Finish():
                pass  # calls are made once the turn has been said
            case _:
                raise _ModelFailed(f"a scripted agent cannot play {part!r}", final=True)

    async def _say(self, part: Text | Think) -> None:
        for _ in pieces(part.text, part.chunk):
            await anyio.sleep(part.pause)
        self._show(part.text)
        if isinstance(part, Text):
            self._bridge.event("text", {"text": part.text})

    # --- tools

    async def _carry_out(self, turn: Sequence[Part]) -> bool:
        """Make the calls of a turn, all at once; say whether the model is to be asked again."""
        calls = [part for part in turn if isinstance(part, ToolCall | BrokenJson)]
        text = "".join(part.text for part in turn if isinstance(part, Text))
        known = tuple(call for call in calls if isinstance(call, ToolCall))
        self._messages.append(Message("assistant", text, known))
        answers: list[Result | None] = [None] * len(calls)
        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                id_ = call.id or f"call_{self._counter}_{index}"
                tasks.start_soon(partial(self._call, call, id_, answers, index))
        results = [answer for answer in answers if answer is not None]
        if results:
            self._messages.append(Message("tool", results=tuple(map(_result, calls, results))))
        return any(not result.end for result in results)

    async def _call(
        self, call: ToolCall | BrokenJson, id_: str, answers: list[Result | None], index: int
    ) -> None:
        given = dict(call.arguments) if isinstance(call, ToolCall) else call.arguments
        shown = json.dumps(given, ensure_ascii=False)
        self._bridge.event("tool_start", {"id": id_, "name": call.name, "arguments": given})
        self._show(f"* {call.name} {shown}")
        try:
            answers[index] = answer = await self._bridge.call(call.name, given, call=id_)
        except BridgeEndedError:
            return
        self._bridge.event(
            "tool_end",
            {"id": id_, "name": call.name, "is_error": not answer.ok, "result": answer.text},
        )
        self._show(f"= {answer.text}")


def _result(call: ToolCall | BrokenJson, result: Result) -> ToolResult:
    return ToolResult(result.call, result.text, call.name, error=not result.ok)
