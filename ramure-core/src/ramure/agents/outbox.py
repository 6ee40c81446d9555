"""Messages on their way to an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ramure.events import EventStream
from ramure.run.protocol import Deliver


@dataclass(slots=True)
class Delivery:
    """One message: with the agent's program once ``queued``, with its model once taken."""

    message: Deliver
    queued: asyncio.Event = field(default_factory=asyncio.Event)


class Outbox:
    """The messages that an agent has not taken up yet, in order.

    Args:
        tell: says something to the agent's program, if there is one now.
        events: the agent's.
    """

    def __init__(self, tell: Callable[[Deliver], None], events: EventStream) -> None:
        self._tell = tell
        self._events = events
        self._numbers = count(1)
        self._waiting: dict[str, Delivery] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def post(self, text: str) -> Delivery:
        """Send a message."""
        delivery = Delivery(Deliver(id=f"m{next(self._numbers)}", text=text))
        self._waiting[delivery.message.id] = delivery
        self._events.emit("message_sent", {"id": delivery.message.id, "text": text})
        self._tell(delivery.message)
        return delivery

    def queued(self, number: str) -> None:
        """The program holds it."""
        if delivery := self._waiting.get(number):
            delivery.queued.set()

    def taken(self, number: str) -> None:
        """The model has it."""
        if delivery := self._waiting.pop(number, None):
            delivery.queued.set()
            self._events.emit("taken", {"id": number})

    def post_again(self) -> None:
        """Another program has taken the agent's place: it gets what the last did not take up."""
        for delivery in self._waiting.values():
            self._tell(delivery.message)
