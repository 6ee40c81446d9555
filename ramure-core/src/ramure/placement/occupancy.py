"""How many machines this program has on each host, and waiting for room on one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import anyio
from anyio.lowlevel import RunVar

from ramure.values import Host

Limits = Mapping[Host, int | None]
"""Hosts, each with the number of machines that it may have at once; None for no limit."""


class Occupancy:
    """Counts every machine, however its host was written, so that all pools share the load."""

    def __init__(self) -> None:
        self._machines: Counter[Host] = Counter()
        self._waiting: list[anyio.Event] = []

    async def take(self, hosts: Limits) -> Host:
        """The host with the fewest machines, the first of equals; waits while all are full."""
        while True:
            if free := self._free(hosts):
                host = min(free, key=self._machines.__getitem__)
                self._machines[host] += 1
                return host
            room = anyio.Event()
            self._waiting.append(room)
            try:
                await room.wait()
            finally:
                self._waiting.remove(room)

    def full(self, hosts: Limits) -> bool:
        """Whether there is room on none of them."""
        return not self._free(hosts)

    def _free(self, hosts: Limits) -> list[Host]:
        return [h for h, limit in hosts.items() if limit is None or self._machines[h] < limit]

    def leave(self, host: Host) -> None:
        """There is room for one more machine on this host."""
        self._machines[host] = max(0, self._machines[host] - 1)
        for room in self._waiting:
            room.set()


_occupancy: RunVar[Occupancy] = RunVar("ramure_occupancy")


def occupancy() -> Occupancy:
    """The one of this event loop."""
    found = _occupancy.get(None)
    if found is None:
        found = Occupancy()
        _occupancy.set(found)
    return found
