"""One container, as the engine knows it: commands in it, what became of it, its removal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import anyio
from anyio import BrokenResourceError

from ramure._exec import abandon
from ramure._work import to_end
from ramure.backends._marks import MARKS, new_mark
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.values import PtySize
from ramure_docker.chores import Chores
from ramure_docker.engine import PATIENCE, POOL, Engine
from ramure_docker.errors import paused
from ramure_docker.fate import Traces
from ramure_docker.process import SLOW, DockerProcess, script
from ramure_docker.streams import Ended, Streams

STARTING = 30.0
"""Seconds in which the engine has to start a command."""

HELPING = 8.0
"""Seconds that a small command of our own may take."""

DETACHING = ",".join(["ctrl-^", "ctrl-_"] * 4)
"""The keys by which the engine lets go of a terminal: nobody types them. It needs some, and holds
the first one back; its own choice begins with ctrl-p, which shells and editors use."""

SETTLING = 0.3
"""Seconds after a command was killed in which the engine says that it was the container."""

REMOVING = 30.0
CLEANUP = "docker-cleanup"


class Container:
    """A container.

    Attributes:
        engine: where it is.
        id: the engine's name for it.
        name: people's name for it.
        fate: why it cannot be used any more; None as long as it can.
        is_paused: somebody has paused it.
        chores: what is done in it without anybody who waits.
    """

    def __init__(self, engine: Engine, id_: str, name: str) -> None:
        self.engine, self.id, self.name = engine, id_, name
        self.fate: str | None = None
        self._over = anyio.Event()
        self._removed = False
        self.is_paused, self._traces = False, Traces()
        self._mark = new_mark()
        self._processes: WeakSet[DockerProcess] = WeakSet()
        self.chores = Chores()

    # --- commands

    async def open(
        self,
        words: Sequence[str],
        *,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> DockerProcess:
        """Start a command; cancelled in the middle, it is killed.

        Raises:
            OSError, MachineError: as ``Machine.open_process``.
        """
        start = partial(self._start, words, cwd, env or {}, user, pty)
        starting = self.chores.begin(start, f"starting {words[0]} in {self.name}")
        try:
            await asyncio.wait([starting], timeout=STARTING)
            return self._started(starting)
        except BaseException:
            await to_end(partial(self._give_up, starting), PATIENCE)
            raise

    def _started(self, starting: asyncio.Task[DockerProcess]) -> DockerProcess:
        if starting.done() and not starting.cancelled():
            return starting.result()
        self.check_fate()
        what = f"the engine did not start a command within {STARTING:g} s"
        raise LinkBroken(what, machine=self.name, outcome_unknown=True)

    async def _give_up(self, starting: asyncio.Task[DockerProcess]) -> None:
        """Kill a command: now, or where the engine is slow, as soon as it has started."""
        await asyncio.wait([starting], timeout=SLOW)
        if starting.done():
            await _end(starting)
        else:
            self.chores.begin(partial(_end, starting), f"ending a command in {self.name}")

    async def _start(
        self,
        words: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        user: str | None,
        pty: PtySize | None,
    ) -> DockerProcess:
        mark = new_mark()
        size = [str(pty.rows), str(pty.columns)] if pty else ["", ""]
        everything = {**env, MARKS: f"{self._mark}:{mark}"}
        if pty is not None:
            everything.setdefault("TERM", "xterm-256color")
        command = script("start.sh", cwd, *size, *words)
        exec_id, streams = await self._exec(command, everything, user, pty=pty is not None)
        process = DockerProcess(self, exec_id, streams, mark=mark, user=user)
        self._processes.add(process)
        try:
            await process.begun(words[0])
            if pty is not None:
                process.stderr = Ended()
                await process.resize(pty)
                await process.heard()
        except BaseException:
            await process.let_go()
            raise
        return process

    async def _exec(
        self, command: Sequence[str], env: Mapping[str, str], user: str | None, *, pty: bool
    ) -> tuple[str, Streams]:
        self.check_fate()
        wanted = {
            "Cmd": list(command),
            "Env": [f"{name}={value}" for name, value in env.items()],
            "User": user or "",
            "Tty": pty,
            "DetachKeys": DETACHING,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
        }
        path = f"/containers/{self.id}/exec"
        # Bounded by whoever waits: a command that starts after all has to be ended.
        bound: dict[str, Any] = {"machine": self.name, "patience": PATIENCE}
        async with self._refusals():
            made = await self.engine.ask("POST", path, wanted, **bound)
            options = {"Detach": False, "Tty": pty}
            stream = await self.engine.hijack(f"/exec/{made['Id']}/start", options, **bound)
        return made["Id"], Streams(stream, raw=pty)

    async def say(self, words: Sequence[str], *, user: str | None = None) -> bytes:
        """Run a small command of our own and give what it says; bounded.

        Raises:
            MachineError: it could not be run, or did not end in time.
        """
        try:
            with anyio.fail_after(HELPING):
                _, streams = await self._exec(words, {}, user, pty=False)
                try:
                    return await streams.everything()
                finally:
                    await streams.aclose()
        except BrokenResourceError as error:
            await self.check()
            raise LinkBroken("the connection to the engine broke", machine=self.name) from error
        except TimeoutError:
            what = f"the container did not do within {HELPING:g} s what it had to"
            raise LinkBroken(what, machine=self.name) from None

    async def inspect_exec(self, exec_id: str) -> dict[str, Any]:
        """What the engine knows of a command."""
        path = f"/exec/{exec_id}/json"
        async with self._refusals():
            found: dict[str, Any] = await self.engine.ask("GET", path, machine=self.name)
        return found

    @asynccontextmanager
    async def _refusals(self) -> AsyncIterator[None]:
        """What the engine refuses, it may refuse because of what became of the container."""
        try:
            yield
        except LinkBroken:
            raise
        except MachineError:
            await self.check()
            raise

    async def resize_exec(self, exec_id: str, size: PtySize) -> None:
        """Give a command's terminal its size."""
        path = f"/exec/{exec_id}/resize"
        await self.engine.ask("POST", path, machine=self.name, h=size.rows, w=size.columns)

    def forget(self, process: DockerProcess) -> None:
        """It has ended."""
        self._processes.discard(process)

    # --- what became of it

    def check_fate(self) -> None:
        """Raise ``MachineGone`` where something is known to have happened to it."""
        if self.fate is not None:
            raise MachineGone(self.fate, machine=self.name)

    async def check(self) -> None:
        """Ask the engine.

        Raises:
            MachineGone: it does not run; the message says why.
            EngineUnavailable: the engine cannot be asked.
        """
        self.check_fate()
        try:
            said = await inspect(self.engine, self.id, self.name)
        except MachineGone:
            await self._told(None)
            raise
        state = said["State"]
        if state.get("OOMKilled"):
            self._traces.note("oom", {})
        if state.get("Paused"):
            self.happened("pause", {})
        elif not state.get("Running"):
            await self._told(int(state["ExitCode"]))
        self.check_fate()

    async def _told(self, code: int | None) -> None:
        """It has ended: the engine's events, which tell most, may come a little later."""
        with anyio.move_on_after(SETTLING):
            await self._over.wait()
        self.ended(self._traces.why(code))
        self.check_fate()

    async def settled(self) -> None:
        """As ``check``, where a command has been killed: perhaps because the container ends."""
        with anyio.move_on_after(SETTLING):
            await self._over.wait()
        await self.check()

    def happened(self, what: str, about: Mapping[str, str]) -> None:
        """Take note of an event that the engine tells."""
        self._traces.note(what, about)
        if what == "pause":
            self.is_paused = True
            self.ended(paused(self.name))
        elif what == "unpause" and self.is_paused:
            self.is_paused, self.fate = False, None
            self._over = anyio.Event()
        elif what == "die":
            self.ended(self._traces.why(int(about.get("exitCode", 0))))
        elif what == "destroy":
            self.ended(self._traces.why(None))

    @property
    def ran_out_of_memory(self) -> bool:
        """The kernel has killed something in it for that."""
        return self._traces.ran_out_of_memory

    def ended(self, fate: str) -> None:
        """It cannot be used any more: whatever waits for it gets an error."""
        if self.fate is None:
            self.fate = fate
            self._over.set()
            for process in list(self._processes):
                process.break_off(MachineGone(fate, machine=self.name))

    async def remove(self) -> None:
        """Remove it, with all that runs in it. Idempotent; bounded; through any cancellation."""
        if not self._removed:
            self.ended("it has been destroyed")
            try:
                await remove_to_end(self.engine, self.id, self.name)
            finally:
                await self.chores.aclose()
            self._removed = True


async def _end(starting: asyncio.Task[DockerProcess]) -> None:
    """Kill a command as soon as it has started."""
    await asyncio.wait([starting])
    if not starting.cancelled() and starting.exception() is None:
        await abandon(starting.result())


async def inspect(engine: Engine, id_: str, name: str, *, pool: str = POOL) -> dict[str, Any]:
    """What the engine knows of a container.

    Raises:
        MachineGone: there is none.
        EngineUnavailable: the engine cannot be asked.
    """
    path = f"/containers/{id_}/json"
    found: dict[str, Any] = await engine.ask("GET", path, machine=name, pool=pool)
    return found


async def remove_to_end(engine: Engine, id_: str, name: str) -> None:
    """As ``remove``; bounded; through any cancellation.

    Raises:
        MachineError: it is still there, or nobody knows.
    """
    if not await to_end(partial(remove, engine, id_, name), REMOVING):
        raise MachineError(
            f"the engine has not removed it within {REMOVING:g} s: it may still be there"
            f" (`docker rm -f {name}` removes it)",
            machine=name,
        )


async def remove(engine: Engine, id_: str, name: str) -> None:
    """Remove a container and its anonymous volumes; nothing happens where there is none.

    Raises:
        MachineError: it is still there.
    """
    path = f"/containers/{id_}"
    while True:
        try:
            # The bound is the caller's.
            patience = 2 * REMOVING
            await engine.ask(
                "DELETE", path, machine=name, v=1, force=1, pool=CLEANUP, patience=patience
            )
        except MachineGone:
            return
        except MachineError as error:
            if "already in progress" not in str(error):
                raise
        else:
            return
        await anyio.sleep(0.05)
        with suppress(MachineGone):
            await inspect(engine, id_, name, pool=CLEANUP)
            continue
        return
