"""Events and the streams they are read from.

A stream is append-only and whoever reads it sees everything, from the first event ever. It keeps
the newest events in memory; older ones are read back from a log, which the run brings along.
"""

from __future__ import annotations

import asyncio
import logging
import time as clock
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import anyio

from ramure.errors import EventTimeout

MAX_OBJECTS = 10_000
"""Events per stream whose payload is no JSON and is kept in memory for late readers."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes, as they are stored, of the newest events of a stream, and of those kept objects, that are
held in memory."""

BREATH = 256
"""After about so many events at a stretch a reader lets other tasks run, and a cancellation in."""

_log = logging.getLogger("ramure.events")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        type: what kind of thing.
        data: the payload; whatever was emitted.
        source: a tag that ``bubble`` puts on a child's events.
        time: Unix time, seconds.
        seq: counts from 1 in its stream, without gaps.
        process: the process's id in its run.
        agent: the agent's address; "" for an event of a process.
    """

    type: str
    data: Any = None
    source: str | None = None
    time: float = 0.0
    seq: int = 0
    process: str = ""
    agent: str = ""


class StoredEvents(Protocol):
    """Where one stream keeps what it does not keep in memory."""

    def append(self, event: Event) -> tuple[int, bool]:
        """Store an event; never raises for what is wrong with the disk or the payload.

        Returns:
            Its size in bytes; and True where ``read`` gives back an equal event, False where only a
            likeness of the payload could be stored.
        """

    async def read(self, seq: int) -> list[Event]:
        """Some of the events with this number and above, in order; none where all are lost."""


class EventStream:
    """An append-only stream of events with any number of readers.

    ``async for event in stream`` starts at the first event ever, goes on live, and ends once the
    stream is closed and read to its end. All methods are for the event loop's thread.

    With a log, memory is bounded: the newest ``window`` events (at times a quarter more) are held,
    and up to ``MAX_OBJECTS`` older ones whose payload is no JSON, so that a late reader gets the
    very object; the oldest beyond these are read back as their likeness in the log. Of either, less
    is held where it has more than ``MAX_BYTES``. Without a log, everything is kept.

    Args:
        log: where events are stored; None for a stream in memory alone.
        window: how many of the newest events are held in memory.
        process: the ``process`` of every event.
        agent: the ``agent`` of every event.
        observe: called with every event, in order, after it was stored; must be quick. An
            exception of it goes to Python's logging and stops nobody.
    """

    def __init__(
        self,
        *,
        log: StoredEvents | None = None,
        window: int = 1000,
        process: str = "",
        agent: str = "",
        observe: Callable[[Event], None] | None = None,
    ) -> None:
        self._history = _History(log, max(1, window))
        self._process = process
        self._agent = agent
        self._observe = observe

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<EventStream of {self._owner()}: {len(self)} events, {state}>"

    def __len__(self) -> int:
        return len(self._history)

    def __bool__(self) -> bool:
        return True  # an empty stream is a stream

    @property
    def last(self) -> Event | None:
        """The newest event."""
        return self._history.last

    @property
    def closed(self) -> bool:
        """True once nothing more can be emitted."""
        return self._history.closed

    def emit(
        self,
        type: str,  # noqa: A002 the public name
        data: Any = None,
        *,
        source: str | None = None,
        time: float | None = None,
    ) -> Event | None:
        """Append an event and wake whoever waits; it is stored when this returns.

        Args:
            type: what kind of thing happened.
            data: the payload. Leave it unchanged afterwards: readers get this very object.
            source: whose event it is, where it was forwarded.
            time: Unix time, seconds; now unless told.

        Returns:
            The event; None, and nothing happens, where the stream is closed.
        """
        history = self._history
        if history.closed:
            return None
        moment = clock.time() if time is None else time
        event = Event(type, data, source, moment, len(history) + 1, self._process, self._agent)
        history.append(event)
        if self._observe is not None:
            self._show(event, self._observe)
        return event

    def close(self) -> None:
        """Let readers end once they have read everything. Idempotent."""
        self._history.close()

    def __aiter__(self) -> EventReader:
        return EventReader(self._history)

    def since(self, seq: int) -> EventReader:
        """A reader of the events after number ``seq``, those to come included."""
        return EventReader(self._history, max(0, seq))

    def listen_for(
        self,
        type: str | None = None,  # noqa: A002 the public name
        *,
        timeout: float | None = None,
        where: Callable[[Event], bool] | None = None,
        replay: bool = False,
    ) -> Awaitable[Event]:
        """Listen, from this call on, for the first event that fits; await the answer for it.

        ``waiting = stream.listen_for("x"); trigger(); await waiting`` cannot miss it. What is
        there by the time of the ``await`` is found whatever the time-out.

        Args:
            type: only events of this type.
            timeout: seconds from this call; None for no limit.
            where: only events for which it is true.
            replay: look at the past events first.

        Raises:
            EventTimeout: from the ``await``: no such event came in time, or none can come any
                more because the stream has ended.
        """
        wanted = _Wanted(self._owner(), type, where)
        deadline = None if timeout is None else clock.monotonic() + timeout
        return _Listener(self._history, 0 if replay else len(self), wanted, deadline)

    def _show(self, event: Event, observe: Callable[[Event], None]) -> None:
        try:
            observe(event)
        except Exception:  # noqa: BLE001 who emits is not to suffer from who looks on
            _log.exception("an observer failed at %r of %s", event.type, self._owner())

    def _owner(self) -> str:
        if self._agent:
            return f"agent {self._agent!r}"
        return f"process {self._process!r}" if self._process else "a stream"


class _History:
    """All events of a stream: the newest in memory, the older ones in the log, if there is one."""

    def __init__(self, log: StoredEvents | None, window: int) -> None:
        self.closed = False
        self.forgotten = 0
        """How many events are no longer in the window: the first in it has one number more."""
        self._log = log
        self._window = window
        self.recent: list[Event] = []
        self._sizes: list[int] = []  # of these, where there is a log
        self._size = 0
        self._objects: dict[int, tuple[Event, int]] = {}
        self._objects_size = 0
        self._news: anyio.Event | None = None  # there only while somebody waits

    def __len__(self) -> int:
        return self.forgotten + len(self.recent)

    @property
    def last(self) -> Event | None:
        return self.recent[-1] if self.recent else None

    def append(self, event: Event) -> None:
        self.recent.append(event)
        if self._log is not None:
            size, faithful = self._log.append(event)
            self._sizes.append(size)
            self._size += size
            if not faithful:
                self._keep(event, size)
            if (
                len(self.recent) > self._window + self._window // 4
                or self._size > MAX_BYTES + MAX_BYTES // 4
            ):
                self._forget()
        if self._news is not None:
            self._wake(self._news)

    def close(self) -> None:
        self.closed = True
        if self._news is not None:
            self._wake(self._news)

    async def changed(self) -> None:
        """Wait for the next event, or for the end."""
        # One event for all waiters: it costs nothing while nobody waits, is made once for any
        # number of them, and a cancelled waiter leaves nothing to tidy up.
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()

    async def after(self, seq: int) -> list[Event]:
        """Some events after number ``seq``, in order: the next ones that are not lost."""
        while seq < self.forgotten:
            if events := await self._read_back(seq + 1):
                return events
            # The disk was full for longer than memory could make up for; the log has told of it.
            seq = max(seq, self.forgotten)
        start = seq - self.forgotten
        return self.recent[start : start + BREATH]

    async def _read_back(self, first: int) -> list[Event]:
        """Some events from number ``first`` on that are no longer in the window."""
        stored = [] if self._log is None else await self._log.read(first)
        old = {event.seq: event for event in stored if event.seq <= self.forgotten}
        if not self._objects:
            return [*old.values()]
        end = max(old, default=self.forgotten)
        kept = {seq: event for seq, (event, _) in self._objects.items() if first <= seq <= end}
        return [event for _, event in sorted((old | kept).items())]

    def _keep(self, event: Event, size: int) -> None:
        self._objects[event.seq] = event, size
        self._objects_size += size
        while len(self._objects) > MAX_OBJECTS or (
            self._objects_size > MAX_BYTES and len(self._objects) > 1
        ):
            self._objects_size -= self._objects.pop(next(iter(self._objects)))[1]

    def _forget(self) -> None:
        """Reduce to the window, and the newest to their bytes; many at once: little per event."""
        surplus = max(0, len(self.recent) - self._window)
        size = self._size - sum(self._sizes[:surplus])
        while size > MAX_BYTES and surplus < len(self.recent) - 1:
            size -= self._sizes[surplus]
            surplus += 1
        del self.recent[:surplus], self._sizes[:surplus]
        self.forgotten += surplus
        self._size = size

    def _wake(self, news: anyio.Event) -> None:
        self._news = None
        news.set()


class EventReader:
    """Reads a stream in order, each event once. For one task; make another for another."""

    def __init__(self, history: _History, seq: int = 0) -> None:
        self.seq = seq
        """The number of the last event that was read."""
        self._history = history
        self._batch: Iterator[Event] = iter(())
        self._stretch = 0  # events taken since other tasks could run

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        for event in self._batch:  # the next one: this is all that most events cost
            self.seq = event.seq
            return event
        self._batch = await self._next_batch()
        return await anext(self)

    async def _next_batch(self) -> Iterator[Event]:
        # A cancellation in here loses nothing: ``seq`` moves as events are given out.
        if self._stretch >= BREATH:
            self._stretch = 0
            await asyncio.sleep(0)
        history = self._history
        while self.seq >= len(history):
            if history.closed:
                raise StopAsyncIteration
            self._stretch = 0
            await history.changed()
        events = await history.after(self.seq)
        self._stretch += len(events)
        return iter(events)


class _Wanted:
    """What somebody listens for, and the words for it."""

    def __init__(
        self,
        owner: str,
        type: str | None,  # noqa: A002 as in listen_for
        where: Callable[[Event], bool] | None,
    ) -> None:
        self._owner = owner
        self._type = type
        self._where = where

    def fits(self, event: Event) -> bool:
        if self._type is not None and event.type != self._type:
            return False
        return self._where is None or self._where(event)

    def missed(self, why: str, last: Event | None) -> EventTimeout:
        wanted = "no event" if self._type is None else f"no event {self._type!r}"
        such = " that fits" if self._where is not None else ""
        newest = f"the last of {last.seq} events is {last.type!r}" if last else "there was none"
        return EventTimeout(f"{self._owner}: {wanted}{such} came, and {why} ({newest})")


class _Listener:
    """What ``listen_for`` gives: a place in a stream. Nobody has to know of it, or end it."""

    def __init__(
        self, history: _History, seq: int, wanted: _Wanted, deadline: float | None
    ) -> None:
        self._history = history
        self._seq = seq
        self._wanted = wanted
        self._deadline = deadline

    def __await__(self) -> Generator[Any, Any, Event]:
        return self._find().__await__()

    async def _find(self) -> Event:
        reader = EventReader(self._history, self._seq)
        while True:
            # Asked before the events are looked at, so that one that came just before is found.
            closed, there = self._history.closed, len(self._history)
            late = self._deadline is not None and clock.monotonic() >= self._deadline
            while reader.seq < there:
                event = await anext(reader)
                if self._wanted.fits(event):
                    return event
            if closed:
                raise self._wanted.missed("its events have ended", self._history.last)
            if late:
                raise self._wanted.missed("the time is up", self._history.last)
            if reader.seq == len(self._history) and not self._history.closed:
                await self._wait()  # nothing came meanwhile that would not wake us any more

    async def _wait(self) -> None:
        if self._deadline is None:
            await self._history.changed()
            return
        with anyio.move_on_after(self._deadline - clock.monotonic()):
            await self._history.changed()
