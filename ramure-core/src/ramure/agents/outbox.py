"""Messages on their way to an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ramure.errors import AgentError
from ramure.events import EventStream
from ramure.run.protocol import Deliver

RESTARTED = (
    "You were restarted in the middle of your work: the program that you run in had ended. Your "
    "conversation up to then is above. Whatever you had begun last, such as a tool call, may have "
    "been done, in part or not at all: look first, then go on with what you were doing."
)
"""What an agent that remembers is told where its program's end broke a turn off."""

MAX_MESSAGES, MAX_CHARACTERS = 10_000, 64_000_000
"""More than so many messages, or so much text, do not wait for one agent."""


@dataclass(slots=True)
class Delivery:
    """One message: with the agent's program once ``queued``, with its model once taken.

    Attributes:
        message: as the agent's program gets it.
        queued: set once that holds it, or it is ``lost``.
        lost: why the program cannot be given it.
    """

    message: Deliver
    queued: asyncio.Event = field(default_factory=asyncio.Event)
    lost: AgentError | None = None


class Outbox:
    """The messages that an agent has not taken up yet, in order, and those it works on.

    Args:
        tell: says something to the agent's program, if there is one now.
        events: the agent's.
    """

    def __init__(self, tell: Callable[[Deliver], None], events: EventStream) -> None:
        self._tell = tell
        self._events = events
        self._numbers = count(1)
        self._waiting: dict[str, Delivery] = {}
        self._size = 0  # of the texts that wait, in characters
        self._taken: dict[str, Delivery] = {}
        self._notice = ""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def burden(self, text: str) -> str:
        """What keeps one more message from being taken in; nothing where there is room."""
        if len(self._waiting) < MAX_MESSAGES and self._size + len(text) <= MAX_CHARACTERS:
            return ""
        return f"{len(self._waiting)} messages of {self._size} characters wait for it"

    @property
    def at_work(self) -> bool:
        """True while the agent has taken something up that it has not done with."""
        return bool(self._taken)

    def post(self, text: str) -> Delivery:
        """Send a message.

        Raises:
            AgentError: it cannot be sent, and then it does not wait for the agent either.
        """
        delivery = self._write(text)
        self._tell(delivery.message)
        self._waiting[delivery.message.id] = delivery
        self._size += len(text)
        self._note(delivery)
        return delivery

    def _write(self, text: str) -> Delivery:
        return Delivery(Deliver(id=f"m{next(self._numbers)}", text=text))

    def _note(self, delivery: Delivery) -> None:
        message = delivery.message
        self._events.emit("message_sent", {"id": message.id, "text": message.text})

    def queued(self, number: str) -> None:
        """The program holds it."""
        if delivery := self._waiting.get(number):
            delivery.queued.set()

    def taken(self, number: str) -> None:
        """The model has it."""
        if delivery := self._waiting.pop(number, None):
            delivery.queued.set()
            self._size -= len(delivery.message.text)
            self._taken[number] = delivery
            self._events.emit("taken", {"id": number})

    def settled(self) -> None:
        """The agent has done with all that it had taken up."""
        self._taken.clear()

    def post_again(self) -> AgentError | None:
        """Another program has taken the agent's place: it gets what the last did not take up.

        Returns:
            Why it cannot be given a message that the last one held; None where all is well.
        """
        broken = None
        for number, delivery in list(self._waiting.items()):
            try:
                self._tell(delivery.message)
            except AgentError as error:
                broken = error if delivery.queued.is_set() else broken
                self._lose(number, error)
        return broken

    def _lose(self, number: str, error: AgentError) -> None:
        delivery = self._waiting.pop(number)
        self._size -= len(delivery.message.text)
        delivery.lost = error
        delivery.queued.set()
        self._events.emit("message_lost", {"id": number, "error": error.reason})

    def resume(self, *, remembers: bool) -> list[str]:
        """Before that: let the other program go on with a turn that the last did not end.

        Args:
            remembers: it goes on with the conversation of the last: it is told to. Else it gets
                the messages of the turn again.

        Returns:
            The ids of the messages that make it go on.
        """
        if remembers and self._notice not in self._waiting:
            notice = self._write(RESTARTED)
            self._note(notice)
            self._notice = notice.message.id
            again = {self._notice: notice}
        else:
            again = {} if remembers else self._taken
        self._waiting = again | self._waiting
        self._size = sum(len(delivery.message.text) for delivery in self._waiting.values())
        self._taken = {}
        return list(again)
