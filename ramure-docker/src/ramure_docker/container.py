"""One container, as the engine knows it: commands in it, what became of it, its removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import anyio
from anyio import BrokenResourceError

from ramure._exec import abandon
from ramure._work import to_end
from ramure.backends._marks import MARKS, new_mark
from ramure.errors import LinkBroken, MachineError, MachineGone
from ramure.values import PtySize
from ramure_docker.engine import Engine
from ramure_docker.errors import paused
from ramure_docker.process import DockerProcess, script
from ramure_docker.streams import Ended, Streams

STARTING = 30.0
"""Seconds in which the engine has to start a command."""

HELPING = 8.0
"""Seconds that a small command of our own may take."""

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
        ran_out_of_memory: the kernel has killed something in it for that.
    """

    def __init__(self, engine: Engine, id_: str, name: str) -> None:
        self.engine, self.id, self.name = engine, id_, name
        self.fate: str | None = None
        self._over = anyio.Event()
        self._removed = False
        self.is_paused = self.ran_out_of_memory = False
        self._mark = new_mark()
        self._processes: WeakSet[DockerProcess] = WeakSet()

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
        made: list[DockerProcess] = []

        async def start() -> None:
            await self._open(made, words, cwd, env or {}, user, pty)

        try:
            await to_end(start, STARTING)
        except BaseException:
            for process in made:
                await abandon(process)
            raise
        if not made:
            raise MachineError(
                f"the engine did not start a command within {STARTING:g} s", machine=self.name
            )
        return made[0]

    async def _open(
        self,
        made: list[DockerProcess],
        words: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        user: str | None,
        pty: PtySize | None,
    ) -> None:
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
        except BaseException:
            await process.let_go()
            raise
        made.append(process)
        if pty is not None:
            process.stderr = Ended()
            await process.resize(pty)

    async def _exec(
        self, command: Sequence[str], env: Mapping[str, str], user: str | None, *, pty: bool
    ) -> tuple[str, Streams]:
        self.check_fate()
        made = await self.engine.call(
            lambda api: api.exec_create(
                self.id,
                list(command),
                stdin=True,
                tty=pty,
                environment=dict(env),
                user=user or "",
            ),
            self.name,
        )
        options = {"Detach": False, "Tty": pty}
        path = f"/exec/{made['Id']}/start"
        stream = await self.engine.hijack(path, options, machine=self.name)
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
            raise MachineError(what, machine=self.name) from None

    async def inspect_exec(self, exec_id: str) -> dict[str, Any]:
        """What the engine knows of a command."""
        found: dict[str, Any] = await self.engine.call(
            lambda api: api.exec_inspect(exec_id), self.name
        )
        return found

    async def resize_exec(self, exec_id: str, size: PtySize) -> None:
        """Give a command's terminal its size."""
        await self.engine.call(
            lambda api: api.exec_resize(exec_id, height=size.rows, width=size.columns), self.name
        )

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
            said = await self.engine.call(lambda api: api.inspect_container(self.id), self.name)
        except MachineGone as error:
            self.ended(self._why() or str(error))
            raise
        state = said["State"]
        self.ran_out_of_memory |= bool(state.get("OOMKilled"))
        if state.get("Paused"):
            self.happened("pause")
        elif not state.get("Running"):
            self.ended(self._why() or f"the container ended with exit code {state['ExitCode']}")
        self.check_fate()

    async def settled(self) -> None:
        """As ``check``, where a command has been killed: perhaps because the container ends."""
        with anyio.move_on_after(SETTLING):
            await self._over.wait()
        await self.check()

    def happened(self, what: str) -> None:
        """Take note of an event that the engine tells."""
        if what == "oom":
            self.ran_out_of_memory = True
        elif what == "pause":
            self.is_paused = True
            self.ended(paused(self.name))
        elif what == "unpause" and self.is_paused:
            self.is_paused, self.fate = False, None
            self._over = anyio.Event()
        else:
            self.ended(self._why() or "the container has been stopped or removed")

    def _why(self) -> str | None:
        return "the container ran out of memory" if self.ran_out_of_memory else None

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
            await to_end(lambda: remove(self.engine, self.id, self.name), REMOVING)
            self._removed = True


async def remove(engine: Engine, id_: str, name: str) -> None:
    """Remove a container and its anonymous volumes; nothing happens where there is none.

    Raises:
        MachineError: it is still there.
    """
    while True:
        try:
            await engine.call(
                lambda api: api.remove_container(id_, v=True, force=True), name, pool=CLEANUP
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
            await engine.call(lambda api: api.inspect_container(id_), name, pool=CLEANUP)
            continue
        return
