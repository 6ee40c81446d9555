"""The lives of one agent's program: started, watched, lost, started again, ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import anyio

from ramure import paths
from ramure._files import absolute
from ramure.agents.settings import AgentSettings
from ramure.cancellation import Job, complete, finish, outlast
from ramure.errors import AgentEnded, AgentStartFailed
from ramure.harness import Harness
from ramure.machine import Machine
from ramure.run.protocol import FromAgent, FromRun, Ready
from ramure.run.runtime import LEASE_ELSEWHERE, LEASE_HERE, Life, Runtime
from ramure.values import AgentSpec, Ending

LINK_GRACE = 5.0
"""Seconds beyond the lease after which an agent without a connection is given up."""

SETTLING = 60.0
"""Seconds that a machine may take to make an agent's folder."""

STOPPING = 20.0
"""Seconds that ending one agent's program may take."""

RESTARTS, RESTART_PERIOD = 3, 300.0
"""More restarts than this within so many seconds are a failure (as OTP's intensity and period)."""

LONGEST_BACKOFF = 30.0
"""Seconds between a loss and a restart, at the most; 1 s at first, then twice as long each time."""

SETTLE = 'mkdir -p -m 700 "$1" && pwd -P'
"""Makes an agent's folder and gives its working directory, by one command."""


class Observer(Protocol):
    """Who is told what becomes of an agent's program."""

    def hear(self, message: FromAgent) -> None:
        """The program said something."""

    def link(self, connected: bool) -> None:
        """The connection came or went."""

    def restarting(self, reason: str) -> None:
        """The program is gone, and is about to be started again."""

    def restarted(self, reason: str) -> None:
        """The program runs again."""

    def lost(self, ending: Ending) -> None:
        """The program is gone for good."""


class Lifecycle:
    """Keeps one agent's program alive as its settings say.

    Attributes:
        incarnation: how often the program has been started.
        life: the present incarnation; None before the first, between two, and after the last.
    """

    def __init__(
        self,
        address: str,
        *,
        machine: Machine,
        harness: Harness,
        settings: AgentSettings,
        runtime: Runtime,
        observer: Observer,
    ) -> None:
        self.address = address
        self.incarnation = 0
        self.life: Life | None = None
        self._machine = machine
        self._harness = harness
        self._settings = settings
        self._runtime = runtime
        self._observer = observer
        self._ready: Ready | None = None
        self._ended_early: Ending | None = None
        self._first_news = asyncio.Event()
        self._is_up = False
        self._unlinked_since: float | None = None
        self._losses: list[float] = []
        self._loss: Job[None] | None = None
        self._lost: Life | None = None
        self._stopping = False
        self._lease = LEASE_HERE if machine.here else LEASE_ELSEWHERE

    @property
    def connected(self) -> bool:
        """True while the program's bridge has a connection to the run."""
        return self.life is not None and self.life.channel.connected

    def tell(self, message: FromRun) -> None:
        """Say something to the program; nothing happens where there is none any more.

        Raises:
            AgentError: it takes nothing in, and too much is waiting for it.
        """
        if self.life is not None:
            with suppress(AgentEnded):
                self.life.channel.send(message)

    async def screen(self) -> str:
        """What the program's terminal shows."""
        return await self.life.session.screen() if self.life else ""

    # --- start

    async def start(self) -> None:
        """Start the program and wait until it has reported.

        Raises:
            AgentStartFailed: it never came up; everything it had started is gone again.
        """
        self.incarnation += 1
        self._ready = self._ended_early = self._unlinked_since = None
        self._first_news, self._is_up = asyncio.Event(), False
        spec = await self._spec()
        life = await complete(self._runtime.tasks, lambda: self._launch(spec), undo=self._end)
        self.life = life
        self._runtime.tasks.start_soon(self._watch, life, self._first_news)
        try:
            await self._come_up(life)
        except BaseException:
            self.life = None
            await finish(self._runtime.tasks, self._end, life)
            raise

    async def _spec(self) -> AgentSpec:
        """Make the agent's folder and see that its working directory is there."""
        state_dir = f"{self._machine.state_dir}/agent-{self.address}"
        settings = self._settings
        try:
            cwd = await self._settle(state_dir, settings.cwd)
        except FileNotFoundError as error:
            raise self._failure(f"its working directory is not there: {error}") from error
        except OSError as error:
            raise self._failure(f"its folders cannot be made ready: {error}") from error
        return AgentSpec(
            run=self._runtime.id,
            address=self.address,
            token=secrets.token_urlsafe(32),
            state_dir=state_dir,
            cwd=cwd,
            incarnation=self.incarnation,
            system_prompt=settings.system_prompt,
            model=settings.model,
            env=settings.env,
            lease=self._lease,
            options=settings.options,
        )

    async def _settle(self, state_dir: str, cwd: str | None) -> str:
        """Make the agent's folder; give its working directory without links."""
        machine = self._machine
        if machine.here:  # a few microseconds: a command, or a thread, would be most of a start
            return _settle_here(state_dir, absolute(machine, cwd) if cwd else machine.workdir)
        command = ["sh", "-c", SETTLE, "sh", state_dir]
        done = await machine.exec(command, cwd=cwd, timeout=SETTLING)
        if not done.ok:
            why = f"no answer within {SETTLING:g} s" if done.timed_out else done.stderr.strip()
            raise self._failure(f"cannot make {state_dir}: {why}")
        return done.stdout.rstrip("\n")

    async def _launch(self, spec: AgentSpec) -> Life:
        return await self._runtime.launch(
            self._machine,
            self._harness,
            spec,
            on_message=self._hear,
            on_link=self._link,
        )

    async def _come_up(self, life: Life) -> None:
        """Wait for the program's first word, its end, or the end of patience."""
        with anyio.move_on_after(self._settings.start_timeout):
            await self._first_news.wait()
        if self._ended_early is not None:
            reason = f"its program ended at once: {self._ended_early.reason}"
            raise self._failure(reason, self._ended_early.screen)
        if self._ready is None:
            reason = f"its program did not report within {self._settings.start_timeout:g} s"
            raise self._failure(reason, await life.session.screen())
        if self._ready.problem:
            raise self._failure(self._ready.problem, await life.session.screen())
        self._is_up = True

    def _failure(self, reason: str, screen: str = "") -> AgentStartFailed:
        return AgentStartFailed(
            reason, agent=self.address, machine=self._machine.name, screen=screen
        )

    # --- what comes from the program

    def _hear(self, message: FromAgent) -> None:
        if isinstance(message, Ready):
            self._ready = message
            self._first_news.set()
        self._observer.hear(message)

    def _link(self, connected: bool) -> None:
        self._unlinked_since = None if connected else time.monotonic()
        if self.life is not None and self._is_up:
            self._observer.link(connected)

    # --- loss and restart

    def tend(self, now: float) -> None:
        """Give up a program that lives but has been out of reach for too long."""
        since, patience = self._unlinked_since, self._lease + LINK_GRACE
        if self.life is None or since is None or not self._is_up:
            return
        if now - since > patience:
            self._unlinked_since = None
            self._lose(self.life, Ending(f"nothing was heard of it for {patience:g} s"))

    async def _watch(self, life: Life, first_news: asyncio.Event) -> None:
        try:
            ending = await life.session.wait()
        except Exception as error:  # noqa: BLE001 whatever it is, nobody watches the program now
            ending = Ending(f"it cannot be watched any more: {error!r}")
        if self._is_up:
            self._lose(life, ending)
        elif first_news is self._first_news:  # else another start is under way by now
            self._ended_early = ending
            first_news.set()

    def _lose(self, life: Life, ending: Ending) -> None:
        """Begin to deal with a loss: one piece of work at a time, which ``stop`` can end."""
        if self._stopping or life is not self.life:
            return
        self.life, self._lost = None, life
        self._loss = Job(lambda: self._deal_with(life, ending))
        self._runtime.tasks.start_soon(self._loss.run)

    async def _deal_with(self, life: Life, ending: Ending) -> None:
        try:
            screen = ending.screen or await life.session.screen()
            await finish(self._runtime.tasks, self._end, life)
            ending = Ending(ending.reason, ending.exit_code, screen)
            await self._restart_or_give_up(ending)
        except Exception as error:  # noqa: BLE001 an error of ours must not hide the loss
            self._observer.lost(Ending(f"{ending.reason}; then: {error!r}", screen=ending.screen))

    async def _restart_or_give_up(self, ending: Ending) -> None:
        while self._settings.on_failure == "restart" and self._may_restart():
            self._observer.restarting(ending.reason)
            await anyio.sleep(min(2.0 ** (len(self._losses) - 1), LONGEST_BACKOFF))
            try:
                await self.start()
            except Exception as error:  # noqa: BLE001 tried again, or told, whatever it is
                ending = Ending(f"{ending.reason}; starting it again failed: {error}")
            else:
                self._observer.restarted(ending.reason)
                return
        self._observer.lost(ending)

    def _may_restart(self) -> bool:
        now = time.monotonic()
        self._losses = [*(t for t in self._losses if now - t < RESTART_PERIOD), now]
        return len(self._losses) <= RESTARTS

    # --- end

    async def stop(self) -> None:
        """End the program and remove what it left. Idempotent."""
        self._stopping = True
        if self._loss is not None:
            self._loss.cancel()
            await outlast(self._loss.done)
        lives = [life for life in (self.life, self._lost) if life is not None]
        self.life = self._lost = None
        for life in lives:
            await finish(self._runtime.tasks, self._end, life)

    async def _end(self, life: Life) -> None:
        try:
            with anyio.fail_after(STOPPING):
                self._runtime.retire(life.channel, "the run ends it")
                await life.session.stop()
        except Exception as error:  # noqa: BLE001 the rest of the cleaning goes on
            what = {"what": f"stopping {self.address}", "error": repr(error)}
            self._runtime.journal.record("cleanup_failed", what)


def _settle_here(state_dir: str, cwd: str) -> str:
    paths.make_private(Path(state_dir))
    if not Path(cwd).is_dir():
        raise FileNotFoundError(f"there is no folder {cwd}")
    return str(Path(cwd).resolve())
