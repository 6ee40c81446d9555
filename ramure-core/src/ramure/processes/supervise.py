"""Supervision: children that are started again, by the strategies of Erlang/OTP.

A supervisor is itself a process, so that supervisors can be supervised. Words and rules are those
of OTP's ``supervisor`` (https://www.erlang.org/doc/system/sup_princ.html), with two differences:
what has ended for good is not run a second time because a sibling failed, and restarts wait, longer
each time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import anyio

from ramure.errors import InvalidName, TooManyRestarts, UsageError
from ramure.processes.functions import define
from ramure.processes.handle import ProcessHandle, bubble, spawn
from ramure.processes.process import Outcome, Process
from ramure.scope import current, on_the_loop

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]


@dataclass(frozen=True, slots=True)
class Child:
    """What a supervisor starts, and when it starts it again.

    Attributes:
        function: an ``@agent_process``, or any async function.
        args: its arguments.
        kwargs: its named arguments.
        name: unique among the children; the function's own unless given. Tags its events.
        restart: ``permanent`` is always started again, ``transient`` where it failed,
            ``temporary`` never.
    """

    function: Callable[..., Awaitable[Any]]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    restart: Restart = "transient"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a child is started again: ``first``, then twice as many each time.

    Attributes:
        first: before the first restart.
        longest: never more than this.
        jitter: the part of it that is left to chance, so that many do not come back at once.
    """

    first: float = 0.5
    longest: float = 30.0
    jitter: float = 0.5

    def delay(self, restarts: int) -> float:
        """Seconds before the next restart, after so many in a row."""
        whole = min(self.first * 2.0 ** min(restarts, 64), self.longest)
        return whole * (1 - self.jitter * random.random())  # noqa: S311 spreads the load


@on_the_loop
def supervise(
    *children: Child,
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    within: float = 60.0,
    backoff: Backoff | None = None,
) -> ProcessHandle[dict[str, Any]]:
    """Start children, in this order, and start them again when they end as they should not.

    Awaiting the handle gives the results by the children's names, once all have ended for good. Its
    events are the children's, each with the child's name as ``source``, and ``restarting``, with
    ``child``, ``error``, ``delay`` and the names of all that are started again with it.

    Args:
        *children: what is supervised.
        strategy: who is started again: ``one_for_one``, the one that ended; ``one_for_all``, all;
            ``rest_for_one``, that one and those after it. Others are stopped first, the last first.
        max_restarts: so many within ``within`` seconds are too many, plus one: then all are
            stopped, and the supervisor fails.
        within: seconds. A child that has lived for so long begins its backoff anew.
        backoff: how long to wait before each restart.

    Raises:
        UsageError, InvalidName: before anything is started.
        NotInProcess: there is no live process to own it.
        TooManyRestarts: where the handle is awaited; caused by the last failure.
    """
    _check(children, strategy, max_restarts, within)
    supervision = Supervision(children, strategy, max_restarts, within, backoff or Backoff())

    async def supervisor() -> dict[str, Any]:
        return await supervision.run()

    return spawn(supervisor)


def _check(children: Sequence[Child], strategy: str, max_restarts: int, within: float) -> None:
    names = [_name(child) for child in children]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidName(f"supervise(): children need names of their own: {sorted(twice)}")
    for child in children:
        define(child.function, "supervise()").bind(child.args, child.kwargs)
        if child.restart not in get_args(Restart):
            raise UsageError(
                f"supervise(): restart={child.restart!r} of {_name(child)!r} is none of "
                f"{', '.join(get_args(Restart))}"
            )
    if strategy not in get_args(Strategy):
        known = ", ".join(get_args(Strategy))
        raise UsageError(f"supervise(): strategy={strategy!r} is none of {known}")
    if max_restarts < 0 or within <= 0:
        raise UsageError("supervise(): max_restarts= is 0 or more, within= more than 0 seconds")


def _name(child: Child) -> str:
    return child.name or define(child.function, "supervise()").name


@dataclass(slots=True)
class _Post:
    """A child's place: who is there now, or from when on somebody will be."""

    child: Child
    handle: ProcessHandle[Any] | None = None
    due: float | None = 0.0
    since: float = 0.0
    restarts: int = 0

    @property
    def name(self) -> str:
        return _name(self.child)

    @property
    def process(self) -> Process | None:
        """The live or just ended process; None between two, and after the last."""
        return self.handle._process if self.handle else None  # noqa: SLF001 the same room

    @property
    def ended(self) -> bool:
        """It has ended, and nobody has seen to it yet."""
        return self.process is not None and self.process.ended.is_set()

    @property
    def lives(self) -> bool:
        """Somebody is there."""
        return self.process is not None and not self.process.ended.is_set()

    @property
    def over(self) -> bool:
        """Nobody is there, and nobody will be."""
        return self.process is None and self.due is None


class Supervision:
    """One supervisor at work. All that it does, it does in its own process's body."""

    def __init__(
        self,
        children: Iterable[Child],
        strategy: Strategy,
        max_restarts: int,
        within: float,
        backoff: Backoff,
    ) -> None:
        self._posts = [_Post(child) for child in children]
        self._strategy = strategy
        self._max_restarts = max_restarts
        self._within = within
        self._backoff = backoff
        self._restarts: deque[float] = deque()
        self._results: dict[str, Any] = {}

    async def run(self) -> dict[str, Any]:
        """Supervise until all have ended for good."""
        process = cast("Process", current.get())
        try:
            while not all(post.over for post in self._posts):
                self._start_due()
                await self._something(process)
                for post in self._posts:
                    if post.ended:
                        await self._ended(process, post)
        finally:
            await self._stop(self._posts)
        return self._results

    def _start_due(self) -> None:
        now = anyio.current_time()
        for post in self._posts:
            if post.due is not None and post.due <= now:
                post.due, post.since = None, now
                child = post.child
                post.handle = spawn(child.function, *child.args, **child.kwargs)
                bubble(post.handle, source=post.name)

    async def _something(self, process: Process) -> None:
        """Wait until a child has ended or is due."""
        due = [post.due for post in self._posts if post.due is not None]
        with anyio.move_on_at(min(due, default=float("inf"))):
            while not any(post.ended for post in self._posts):
                await process.next_change()

    async def _ended(self, supervisor: Process, post: _Post) -> None:
        outcome = self._vacate(post)
        if outcome.error is not None and not isinstance(outcome.error, Exception):
            raise outcome.error  # sys.exit() is for the whole program
        wanted = {"permanent": True, "transient": outcome.status == "failed", "temporary": False}
        if wanted[post.child.restart]:
            await self._restart(supervisor, post, outcome.error)

    async def _restart(self, supervisor: Process, post: _Post, error: BaseException | None) -> None:
        now = anyio.current_time()
        self._count(post, now, error)
        others = [other for other in self._affected(post) if other.lives]
        again = [post, *(other for other in await self._stop(others) if self._once_more(other))]
        delay = self._backoff.delay(post.restarts)
        post.restarts += 1
        for one in again:
            one.due = now + delay
        supervisor.emit(
            "restarting",
            {
                "child": post.name,
                "error": repr(error) if error else None,
                "delay": round(delay, 3),
                "restarted": [one.name for one in self._posts if one in again],
            },
        )

    def _count(self, post: _Post, now: float, error: BaseException | None) -> None:
        if now - post.since >= self._within:
            post.restarts = 0
        self._restarts.append(now)
        while self._restarts[0] <= now - self._within:
            self._restarts.popleft()
        if len(self._restarts) > self._max_restarts:
            how = f"failed ({error!r})" if error else "ended"
            raise TooManyRestarts(
                f"the child {post.name!r} {how}, and {self._max_restarts} restarts within "
                f"{self._within:g} s are the limit"
            ) from error

    def _once_more(self, post: _Post) -> bool:
        """Whether one that was stopped is started again: not where it had just ended for good."""
        if post.child.restart == "transient":
            return post.name not in self._results
        return post.child.restart == "permanent"

    def _affected(self, post: _Post) -> list[_Post]:
        if self._strategy == "one_for_one":
            return []
        first = 0 if self._strategy == "one_for_all" else self._posts.index(post) + 1
        return [other for other in self._posts[first:] if other is not post]

    async def _stop(self, posts: Sequence[_Post]) -> Sequence[_Post]:
        """End them, the last first, each before the next; gives them back."""
        for post in reversed(posts):
            if process := post.process:
                process.cancel()
                await process.ended.wait()
                self._vacate(post)
        return posts

    def _vacate(self, post: _Post) -> Outcome:
        """Nobody is there any more; what was achieved is kept."""
        outcome = cast("Outcome", cast("Process", post.process).outcome)
        post.handle = None
        if outcome.status == "done":
            self._results[post.name] = outcome.value
        return outcome
