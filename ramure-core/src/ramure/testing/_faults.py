"""What goes wrong, and at which of the operations on a machine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, TypeVar

import anyio

T = TypeVar("T")

Moment = Literal["before", "after"]
"""Before an operation has done anything, or after it has done all and before it returns."""

LIMIT = 10_000
"""Rounds after which a sweep is taken for one that never ends."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One use of a machine or a backend.

    Attributes:
        kind: ``open_process``, ``read_file``, ``write_file``, ``upload``, ``download``, ``equip``,
            ``destroy``; of a process ``wait``, ``send``, ``receive``, ``signal``, ``kill``,
            ``resize``, ``aclose``; of a backend ``provision``, ``attach``, ``find``, ``remove``.
        number: how many there have been of all kinds, this one too.
        of_kind: how many there have been of this kind.
        moment: when the fault would be.
    """

    kind: str
    number: int
    of_kind: int
    moment: Moment


Fault = Callable[[Operation], Awaitable[None]]
"""Raises, sleeps, or cancels; where it returns, the operation goes on."""

Plan = Callable[[Operation], Fault | None]


class Faults:
    """Decides for each operation what goes wrong.

    Attributes:
        operations: what was done, in order; the first moment of each.
        harmed: the operations with a fault.
    """

    def __init__(self, plan: Plan) -> None:
        self.operations: list[Operation] = []
        self.harmed: list[Operation] = []
        self._plan = plan
        self._kinds: Counter[str] = Counter()

    async def around(
        self,
        kind: str,
        work: Callable[[], Awaitable[T]],
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> T:
        """Do ``work`` with what is planned before and after it.

        ``undo`` removes its result where a fault comes after it: whoever makes something and
        fails, or is cancelled, leaves nothing, and so does what harms it.
        """
        self._kinds[kind] += 1
        number, of_kind = len(self.operations) + 1, self._kinds[kind]
        before = Operation(kind, number, of_kind, "before")
        self.operations.append(before)
        await self._harm(before)
        result = await work()
        try:
            await self._harm(Operation(kind, number, of_kind, "after"))
        except BaseException:
            if undo is not None:
                with anyio.CancelScope(shield=True):
                    await undo(result)
            raise
        return result

    async def _harm(self, operation: Operation) -> None:
        if fault := self._plan(operation):
            self.harmed.append(operation)
            await fault(operation)


# --- what goes wrong


def raises(error: BaseException) -> Fault:
    """The operation raises this error: ``LinkBroken``, ``MachineGone``, an ``OSError``."""

    async def fault(_: Operation) -> None:
        raise error

    return fault


def delays(seconds: float) -> Fault:
    """The operation takes so many seconds longer."""

    async def fault(_: Operation) -> None:
        await anyio.sleep(seconds)

    return fault


def cancels(cancel: Callable[[], object]) -> Fault:
    """Somebody is cancelled just then: ``cancels(scope.cancel)``, ``cancels(task.cancel)``."""

    async def fault(_: Operation) -> None:
        cancel()
        await anyio.lowlevel.checkpoint()

    return fault


# --- where


def script(faults: Mapping[str, Sequence[Fault | None]], *, moment: Moment = "before") -> Faults:
    """By kind: the first operation of a kind meets the first of its faults, and so on."""

    def plan(operation: Operation) -> Fault | None:
        planned = faults.get(operation.kind, ())
        if operation.moment != moment or operation.of_kind > len(planned):
            return None
        return planned[operation.of_kind - 1]

    return Faults(plan)


def seeded(seed: int, fault: Fault, *, rate: float, kinds: Collection[str] = ()) -> Faults:
    """By chance: each operation (of these kinds; none: all) is harmed with this probability.

    The same seed harms the same operations of the same program.
    """
    chance = random.Random(seed)  # noqa: S311 no secret

    def plan(operation: Operation) -> Fault | None:
        hit = chance.random() < rate
        return fault if hit and (not kinds or operation.kind in kinds) else None

    return Faults(plan)


class Point(Faults):
    """One round of a sweep: the n-th operation, of these kinds, is harmed.

    Attributes:
        n: which one.
        moment: when.
    """

    def __init__(self, fault: Fault, n: int, moment: Moment, kinds: Collection[str]) -> None:
        super().__init__(self._is_it)
        self.n, self.moment = n, moment
        self._fault, self._of_kinds = fault, kinds
        self._passed = 0

    def _is_it(self, operation: Operation) -> Fault | None:
        if operation.moment != self.moment:
            return None
        if self._of_kinds and operation.kind not in self._of_kinds:
            return None
        self._passed += 1
        return self._fault if self._passed == self.n else None

    @property
    def met(self) -> Operation | None:
        """The operation that was harmed; None where the round did not come as far."""
        return self.harmed[0] if self.harmed else None

    def __str__(self) -> str:
        where = f"{self.met.kind} ({self.met.of_kind})" if self.met else "nothing"
        return f"{self.moment} operation {self.n}: {where}"


def every_point(
    fault: Fault,
    *,
    kinds: Collection[str] = (),
    moments: Sequence[Moment] = ("before", "after"),
) -> Iterator[Point]:
    """A round for each operation (of these kinds; none: all), and one more in which all goes well.

    Args:
        fault: what goes wrong.
        kinds: see ``Operation``.
        moments: each has rounds of its own.

    Raises:
        RuntimeError: there is no end: each round does more than the one before.
    """
    for moment in moments:
        for n in count(1):
            point = Point(fault, n, moment, kinds)
            yield point
            if point.met is None:
                break
            if n == LIMIT:
                raise RuntimeError(f"after {n} rounds there are still operations to harm")
