"""One run: what it owns, and how its parts are put together.

The runtime joins the contracts: backends give machines, transports make the run reachable from
them, harnesses start agents' programs there, and channels carry what these have to say. It knows
nothing of processes; those are built on it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ramure import paths
from ramure._home import used_home, used_log_dir
from ramure.cancellation import complete, finish
from ramure.errors import AgentStartFailed, MachineError, UsageError
from ramure.harness import Harness, Session
from ramure.machine import Backend, Machine
from ramure.placement import ListenerOptions, Placement
from ramure.plugins import Plugins, resolve
from ramure.run import host, short_folder, sweep
from ramure.run.channel import Channel
from ramure.run.journal import Journal
from ramure.run.keeper import Keeper
from ramure.run.ledger import Ledger
from ramure.run.listen import Listener
from ramure.run.protocol import FromAgent
from ramure.run.tenancy import LONG_WAIT, Tenancy, Wait
from ramure.toolset import ToolSet, tell
from ramure.transport import Route, Target, Transport
from ramure.values import AgentSpec, Host, Json, Usage

T = TypeVar("T")

log = logging.getLogger("ramure")

LEASE_HERE = 10.0
"""Seconds an agent on this computer goes on once the run is gone."""

LEASE_ELSEWHERE = 120.0
"""Seconds an agent on another computer goes on once the run is out of reach."""

CLOSING = 30.0
"""Seconds that removing one machine or closing one part may take at the end of a run."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def new_execution_id() -> str:
    """Ten typeable characters that sort by time: seven for the second, three random."""
    stamp, text = int(time.time()), ""
    for _ in range(7):
        stamp, digit = divmod(stamp, 32)
        text = _DIGITS[digit] + text
    return text + "".join(secrets.choice(_DIGITS) for _ in range(3))


def url_host(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(slots=True)
class Life:
    """One incarnation of an agent's program: its session on the machine and its channel."""

    session: Session
    channel: Channel
    harness: str


class Runtime:
    """A run from its start to its end. Made by the root process.

    Attributes:
        id: the execution id.
        name: the root process's name.
        logs: the run's log folder.
        folder: owner-only; sockets and state of the run, removed at its end.
        socket: the control socket.
        started: Unix time.
        tenancies: its machines, by name.
        waits: machines for which there is no room yet, by name.
        usage: what the models of all its agents have used, of those that have ended, too.
    """

    def __init__(
        self,
        name: str,
        tasks: TaskGroup,
        *,
        log_dir: str | os.PathLike[str] | None = None,
        listener: ListenerOptions | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        self.name = name
        self.tasks = tasks
        self.started = time.time()
        self._log_dir = Path(log_dir).absolute() if log_dir else None
        self._take_id(new_execution_id())
        self.plugins = plugins or Plugins.load()
        self.tenancies: dict[str, Tenancy] = {}
        self.waits: dict[str, Wait] = {}
        self.usage = Usage()
        self._listener_options = listener
        self._parts: dict[tuple[str, str], Any] = {}
        self._addresses: set[str] = set()
        self._counter = 0
        self._closing = AsyncExitStack()
        self._keeper: Keeper | None = None

    def _take_id(self, id_: str) -> None:
        self.id = id_
        self.folder = paths.runtimes() / id_
        self.socket = paths.runtimes() / f"{id_}.sock"
        self.logs = self._log_dir or paths.logs() / id_

    # --- start and end

    async def start(self) -> None:
        """Make the run's folders, start its keeper and open its sockets.

        Each step leaves with ``close`` what undoes it, so that a start that fails halfway is undone
        as well.
        """
        self._closing.enter_context(short_folder.kept_for(self.folder))
        self._make_folder()
        self._closing.push_async_callback(self._leave)
        self._keeper = await anyio.to_thread.run_sync(Keeper, self.id, str(paths.home()))
        with used_home():
            self.ledger = Ledger(self.folder)
        self._closing.callback(self.ledger.close)
        self.ledger.run(**self.facts(), **host.identity())
        self.listener = Listener(self.id)
        self._closing.push_async_callback(self._patiently, self.listener.aclose)
        self.target = await self._listen()
        self.tasks.start_soon(self._sweep_dead_runs)

    def _make_folder(self) -> None:
        """Make the run's folder and lock; where its id is taken, under another."""
        with used_home():
            paths.make_private(paths.runtimes())
            while True:
                try:
                    self.folder.mkdir(mode=0o700)
                    break
                except FileExistsError:
                    self._take_id(new_execution_id())
        try:
            with used_log_dir(self.logs) if self._log_dir else used_home():
                self.journal = Journal(self.logs)
            with used_home():
                self._closing.enter_context(sweep.new_lock(self.folder))
        except BaseException:
            sweep.remove_files(self.folder)
            raise

    async def _leave(self) -> None:
        """The last of the closing: the keeper may be needed until all else is gone."""
        await self._patiently(self._leave_nothing)
        if self._keeper is not None:
            await self._patiently(anyio.to_thread.run_sync, self._keeper.dismiss)
        self.journal.close()

    async def _listen(self) -> Target:
        with used_home():
            agents = paths.linked_socket_path(self.folder / "agents.sock")
            await self.listener.open_unix(agents)
        if self._listener_options is None:
            return Target(str(agents))
        options = self._listener_options
        host, port = await self.listener.open_websocket(options.host, options.port)
        return Target(str(agents), options.base_url or f"ws://{url_host(host)}:{port}")

    def facts(self) -> dict[str, Json]:
        """What the run is, for people who read its ledger."""
        return {
            "id": self.id,
            "program": self.name,
            "pid": os.getpid(),
            "started": self.started,
            "logs": str(self.logs),
        }

    async def _sweep_dead_runs(self) -> None:
        """Remove in the background what runs left whose keepers died with them."""
        try:
            folders = await anyio.to_thread.run_sync(sweep.dead_runs)
            await sweep.sweep_all(folders, self.plugins)
        except Exception as error:  # noqa: BLE001 what others left must not end this run
            self.journal.record("sweep_failed", {"error": repr(error)})

    async def close(self) -> None:
        """Remove what the run still owns. Shielded; each step is bounded."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as removals:
                for tenancy in list(self.tenancies.values()):
                    removals.start_soon(self._patiently, self._remove, tenancy)
            for part in self._parts.values():
                await self._patiently(part.aclose)
            await self._closing.aclose()

    async def _leave_nothing(self) -> None:
        """Remove what was only half made, and then the run's files."""
        _, complete = await sweep.remove_machines(self.folder, self.plugins)
        if complete:
            sweep.remove_files(self.folder)

    async def _patiently(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Do one step of the closing; what fails or takes too long is told and left."""
        try:
            with anyio.fail_after(CLOSING):
                await work(*args)
        except Exception as error:  # noqa: BLE001 the other steps of the closing go on
            self.journal.record("cleanup_failed", {"what": str(work), "error": repr(error)})

    # --- parts

    def backend(self, name: str) -> Backend:
        """The run's one object of this backend."""
        return cast("Backend", self._part("backend", name, lambda: self.plugins.backend(name).load))

    def harness(self, harness: str | Harness) -> Harness:
        """The run's one object of this harness; a harness object stands for itself."""
        if isinstance(harness, Harness):
            self._parts.setdefault(("harness object", str(id(harness))), harness)
            return harness
        return cast(
            "Harness", self._part("harness", harness, lambda: self.plugins.harness(harness).load)
        )

    def transport(self, name: str) -> Transport:
        """The run's one object of this transport."""
        return cast(
            "Transport", self._part("transport", name, lambda: self.plugins.transport(name).load)
        )

    def _part(self, kind: str, name: str, load: Callable[[], str]) -> Any:
        key = (kind, name)
        if key not in self._parts:
            self._parts[key] = resolve(load())()
        return self._parts[key]

    # --- machines

    async def provision(self, placement: Placement, *, tools: ToolSet | None = None) -> Machine:
        """Make a machine of this run; ``tools`` where it is for an agent that needs them.

        Runs to its end as a task of the run, also where the caller is cancelled: then what was
        made is removed again.
        """
        return await complete(
            self.tasks, lambda: self._provision(placement, tools), undo=self.remove
        )

    async def _provision(self, placement: Placement, tools: ToolSet | None) -> Machine:
        self._counter += 1
        name = f"ramure-{self.id}-{self._counter}"
        host = await self._host(placement, name)
        try:
            return await self._provision_on(host, placement, name, tools)
        except BaseException:
            placement.release_host(host)
            raise

    async def _host(self, placement: Placement, name: str) -> Host:
        """A host with room for one more machine; a wait for it is told."""
        if not placement.full:
            return await placement.choose_host()
        held_by = [t.machine.name for t in self.tenancies.values() if t.host in placement.hosts]
        hosts = {str(host): limit for host, limit in placement.hosts.items()}
        self.waits[name] = wait = Wait(name, hosts, held_by)
        self.journal.record("machine_waiting", wait.describe())
        try:
            with anyio.move_on_after(LONG_WAIT):
                return await placement.choose_host()
            log.warning("the run %s: %s", self.id, wait)
            return await placement.choose_host()
        finally:
            del self.waits[name]

    async def _provision_on(
        self, host: Host, placement: Placement, name: str, tools: ToolSet | None
    ) -> Machine:
        backend = self.backend(placement.backend)
        self.journal.record("machine_starting", {"machine": name, "host": str(host)})
        self.ledger.making(name, backend.name, str(host), durable=not backend.here)
        # Where this fails, the entry stays in the ledger: at the run's end somebody looks.
        machine = await backend.provision(
            placement.image, host, name=name, labels=self.labels(), tools=tools
        )
        self.ledger.made(machine.ref, name)
        self.tenancies[machine.name] = Tenancy(machine, placement, host, machine.destroy)
        # A program may destroy it by itself: then, too, its route, room and ledger entry go.
        machine.destroy = partial(self._destroy, machine.name, machine.destroy)  # type: ignore[method-assign]
        self.journal.record("machine_started", {"machine": machine.name, "host": str(host)})
        return machine

    def labels(self) -> dict[str, str]:
        """What everything that this run makes is marked with."""
        return {
            "ramure.run": self.id,
            "ramure.owner": f"{os.getuid()}@{socket.gethostname()}",
        }

    async def remove(self, machine: Machine) -> None:
        """Remove a machine of this run, to the end. Nothing happens where it is gone already."""
        if tenancy := self.tenancies.get(machine.name):
            await finish(self.tasks, self._patiently, self._remove, tenancy)

    async def _destroy(self, name: str, destroy: Callable[[], Awaitable[None]]) -> None:
        """What a program's ``machine.destroy()`` does."""
        if tenancy := self.tenancies.get(name):
            await finish(self.tasks, self._remove, tenancy)
        else:
            await destroy()  # once more: it may have failed

    async def _remove(self, tenancy: Tenancy) -> None:
        if self.tenancies.pop(tenancy.machine.name, None) is None:
            return
        try:
            if tenancy.route is not None:
                await tenancy.route.aclose()
        finally:
            try:
                await tenancy.destroy()
                self.ledger.gone(tenancy.machine.name)
            finally:
                tenancy.placement.release_host(tenancy.host)
        self.journal.record("machine_removed", {"machine": tenancy.machine.name})

    async def route(self, machine: Machine) -> Route:
        """The way from ``machine`` to the run, opened once for each machine."""
        tenancy = self.tenancies.get(machine.name)
        if tenancy is None:
            raise UsageError(f"machine {machine.name!r} is not a machine of this run")
        async with tenancy.lock:
            if tenancy.route is None:
                tenancy.route = await self._open_route(machine)
            return tenancy.route

    async def _open_route(self, machine: Machine) -> Route:
        # Where nothing else leads here, the relay says what it lacks.
        names = ("websocket",) if self.target.url else machine.transports or ("relay",)
        *others, last = names
        for name in others:
            try:
                return await self.transport(name).open(machine, self.target)
            except MachineError as error:
                self.journal.record("route_failed", {"transport": name, "error": str(error)})
        return await self.transport(last).open(machine, self.target)

    # --- agents

    def claim_address(self, name: str) -> str:
        """An address in this run for an agent of this name: the name, or with a suffix."""
        address, number = name, 1
        while address in self._addresses:
            number += 1
            address = f"{name}-{number}"
        self._addresses.add(address)
        return address

    def release_address(self, address: str) -> None:
        """Give an address back, so that a retry may use the same name."""
        self._addresses.discard(address)

    async def launch(
        self,
        machine: Machine,
        harness: Harness,
        spec: AgentSpec,
        *,
        on_message: Callable[[FromAgent], None],
        on_link: Callable[[bool], None],
    ) -> Life:
        """Start one incarnation of an agent's program.

        Args:
            machine: where it is to run; it is equipped and checked first.
            harness: what starts it.
            spec: what the harness has to know.
            on_message: is given all that the agent says.
            on_link: is told when it connects, and when the connection is gone.

        Raises:
            AgentStartFailed: the machine lacks something, or the program could not be started.
        """
        try:
            await self._equip(machine, harness)
            problems = await harness.check(machine)
            route = None if problems else await self.route(machine)
        except (MachineError, OSError) as error:
            raise AgentStartFailed(str(error), agent=spec.address) from error
        if route is None:
            lines = "".join(f"\n  - {problem}" for problem in problems)
            raise AgentStartFailed(
                f"the harness {harness.name!r} cannot work there:{lines}",
                agent=spec.address,
                machine=machine.name,
            )
        channel = Channel(
            run=self.id,
            agent=spec.address,
            token=spec.token,
            lease=spec.lease,
            on_message=on_message,
            on_link=on_link,
        )
        self.listener.register(channel)
        try:
            session = await harness.start(machine, spec, route)
        except BaseException:
            self.retire(channel, "it was not started")
            raise
        return Life(session, channel, harness.name)

    async def _equip(self, machine: Machine, harness: Harness) -> None:
        """Bring what the harness's agents need; tell the person and the log what takes a while."""

        def progress(text: str) -> None:
            self.journal.record("machine_equipping", {"machine": machine.name, "what": text})
            tell(text)

        if harness.tools is not None and not machine.here:
            await machine.equip(harness.tools, progress)

    def retire(self, channel: Channel, reason: str) -> None:
        """End a channel; whoever comes with its token from now on is refused."""
        channel.close(reason)
        self.listener.unregister(channel)
