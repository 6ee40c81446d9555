"""Removing the machines of dead runs: side by side, so that no host waits for another."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import anyio

from ramure.machine import Backend
from ramure.placement import read_host
from ramure.plugins import Plugins, resolve
from ramure.run import ledger
from ramure.values import MachineRef

log = logging.getLogger("ramure")

HOSTS_AT_ONCE, MACHINES_AT_ONCE = 16, 8
"""So many hosts are worked on at a time, and machines of one host."""

FIND_WITHIN, DESTROY_WITHIN, CLOSE_WITHIN = 60.0, 60.0, 10.0
"""Seconds that a host may take to say what is there, to remove one machine, and to be let go."""

Where = tuple[str, str]
"""A backend and a host."""


class Removals:
    """Removes what is in the ledgers of any number of runs; a host out of reach is asked once."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._hosts = anyio.Semaphore(HOSTS_AT_ONCE)
        self._turns: dict[Where, anyio.Lock] = {}
        self._out_of_reach: set[Where] = set()

    async def of(self, folder: Path) -> tuple[list[str], bool]:
        """Remove what the ledger of a run says may be there; whoever calls holds the run's lock.

        Gives the names of what was removed, and whether nothing is left.
        """
        places = defaultdict[Where, list[ledger.Entry]](list)
        for entry in ledger.read(folder).entries.values():
            places[entry.backend, entry.host].append(entry)
        removed, left = list[str](), list[str]()
        async with anyio.create_task_group() as tasks:
            for where, entries in places.items():
                tasks.start_soon(self._clear, folder.name, where, entries, removed, left)
        return removed, not left

    async def _clear(
        self,
        run: str,
        where: Where,
        entries: list[ledger.Entry],
        removed: list[str],
        left: list[str],
    ) -> None:
        names = [entry.name for entry in entries]
        async with self._turns.setdefault(where, anyio.Lock()), self._hosts:
            if where in self._out_of_reach:
                left += names
                return
            backend: Backend | None = None
            try:
                backend = resolve(self._plugins.backend(where[0]).load)()
                refs = await _find(backend, run, where[1], entries)
                await _destroy(backend, refs, removed, left)
            except Exception as error:  # noqa: BLE001 one host out of reach keeps no other
                log.warning("cannot remove %s now: %r", ", ".join(names), error)
                self._out_of_reach.add(where)
                left += names
            finally:
                if backend is not None:
                    with anyio.move_on_after(CLOSE_WITHIN):
                        await backend.aclose()


async def _find(
    backend: Backend, run: str, host: str, entries: list[ledger.Entry]
) -> list[MachineRef]:
    """What is there of these machines: what the ledger knows, and what was being made."""
    found = {entry.name: entry.ref for entry in entries if entry.ref}
    with anyio.fail_after(FIND_WITHIN):
        for ref in await backend.find({"ramure.run": run}, host=read_host(host)):
            found[ref.name] = ref
    return list(found.values())


async def _destroy(
    backend: Backend, refs: list[MachineRef], removed: list[str], left: list[str]
) -> None:
    places = anyio.Semaphore(MACHINES_AT_ONCE)

    async def destroy(ref: MachineRef) -> None:
        try:
            async with places:
                with anyio.fail_after(DESTROY_WITHIN):
                    await backend.destroy(ref)
        except Exception as error:  # noqa: BLE001 one that cannot be removed keeps no other
            log.warning("cannot remove %s now: %r", ref.name, error)
            left.append(ref.name)
        else:
            removed.append(ref.name)

    async with anyio.create_task_group() as tasks:
        for ref in refs:
            tasks.start_soon(destroy, ref)
