"""A harness without a model, without pi and without tmux: its agents follow a script.

    harness = ScriptedHarness([ToolCall("finish", summary="42"), "Goodbye."])
    worker = await agent("worker", harness=harness)
    another = await agent("another", harness="scripted", script=["I have nothing to do."])

An agent lives in the program itself, which is quick enough for thousands and lets scripts be
functions; or, with ``process=True``, in a process of its own on the machine, as a real one does.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections import deque
from collections.abc import Callable

import anyio

from ramure._work import to_end
from ramure.errors import AgentStartFailed, MachineError
from ramure.harness import Harness, Session
from ramure.machine import Machine, Process
from ramure.testing._actor import HARNESS, Role, act
from ramure.testing._written import SETTINGS, settings_json
from ramure.testing.playbook import Playbook
from ramure.testing.script import Scripts
from ramure.transport import Route
from ramure.values import AgentSpec, Ending, Json, Problem, Terminal

LINES = 200
"""Of a transcript, so many of the last ones are kept for the screen."""
TRANSCRIPT = "transcript.txt"
LAUNCH = 'umask 077; exec >>"$0" 2>&1 </dev/null "$@"'
"""Runs a program with a file, owner-only, for its terminal."""


class ScriptedHarness(Harness):
    """Starts agents that follow a script.

    The ``AgentSpec.options`` it understands: ``script`` and ``process``, instead of its own.

    Args:
        scripts: one script for every agent, or several by the agents' names (see ``Playbook``).
        cycle: begin a list again after its end.
        process: run each agent in a process of its own.

    Attributes:
        errors: what scripts' functions raised; the agent's model failed then.
    """

    name = HARNESS
    options = frozenset({"script", "process"})

    def __init__(
        self, scripts: Scripts = (), *, cycle: bool = False, process: bool = False
    ) -> None:
        self.errors: list[Exception] = []
        self._scripts = scripts
        self._cycle = cycle
        self._process = process
        self._sessions: set[_TaskSession] = set()

    async def check(self, machine: Machine) -> list[Problem]:
        """See ``Harness.check``."""
        if machine.here or "memory" in machine.transports:
            return []
        return [Problem(f"scripted agents live on this computer, not on {machine.name}")]

    async def start(self, machine: Machine, spec: AgentSpec, route: Route) -> Session:
        """See ``Harness.start``."""
        role = Role(
            route=route.address,
            agent=spec.address,
            token=spec.token,
            lease=spec.lease,
            system=spec.system_prompt or "",
            model=spec.model or HARNESS,
        )
        scripts: Scripts = spec.options.get("script", self._scripts)
        if spec.options.get("process", self._process):
            return await self._start_process(machine, spec, role, scripts)
        playbook = Playbook(scripts, cycle=self._cycle)
        session = _TaskSession(role, playbook, self.errors, self._sessions.discard)
        self._sessions.add(session)
        return session

    async def _start_process(
        self, machine: Machine, spec: AgentSpec, role: Role, scripts: Scripts
    ) -> Session:
        session = _ProcessSession(machine, spec.state_dir)
        try:
            settings = settings_json(role, scripts, cycle=self._cycle)
            await session.start(settings, spec)
        except TypeError as error:
            raise AgentStartFailed(f"its script: {error}", agent=spec.address) from error
        except (MachineError, OSError) as error:
            raise AgentStartFailed(str(error), agent=spec.address, machine=machine.name) from error
        return session

    async def aclose(self) -> None:
        """End every agent that lives in this program."""
        for session in list(self._sessions):
            await session.stop()


class _TaskSession(Session):
    """An agent in a task of this program; the session owns the task from its making to its end."""

    def __init__(
        self,
        role: Role,
        playbook: Playbook,
        errors: list[Exception],
        on_end: Callable[[_TaskSession], None],
    ) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._ended = anyio.Event()
        self._told = False
        self._on_end = on_end
        # A context of its own: an agent is beside the process that started it, not a part of it.
        self._task = asyncio.get_running_loop().create_task(
            act(role, playbook, show=self._lines.append, record=errors.append),
            name=f"scripted agent {role.agent}",
            context=contextvars.Context(),
        )
        self._task.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self._on_end(self)
        self._ended.set()

    async def wait(self) -> Ending:
        """See ``Session.wait``."""
        await self._ended.wait()
        screen = await self.screen()
        if self._task.cancelled():
            return _ending(0, screen, expected=self._told)
        if error := self._task.exception():
            return Ending(f"it failed: {error!r}", 1, screen)
        return _ending(self._task.result(), screen, expected=self._told)

    async def screen(self) -> str:
        """See ``Session.screen``."""
        return "\n".join(self._lines)

    @property
    def terminal(self) -> Terminal | None:
        """None: there is none."""
        return None

    async def stop(self) -> None:
        """See ``Session.stop``."""
        self._told = True
        self._task.cancel()
        await to_end(self._ended.wait)

    def describe(self) -> dict[str, Json]:
        """See ``Session.describe``."""
        return {"pid": os.getpid()}


class _ProcessSession(Session):
    """An agent in a process of its own."""

    def __init__(self, machine: Machine, folder: str) -> None:
        self._machine = machine
        self._folder = folder
        self._settings = f"{folder}/{SETTINGS}"
        self._transcript = f"{folder}/{TRANSCRIPT}"
        self._process: Process | None = None
        self._told = False
        self._screen: str | None = None

    async def start(self, settings: bytes, spec: AgentSpec) -> None:
        """Start the process; leave nothing where that fails."""
        program = [sys.executable, "-P", "-m", "ramure.testing.scripted_agent", self._folder]
        command = ["sh", "-c", LAUNCH, self._transcript, *program]
        try:
            await self._machine.write_file(self._settings, settings, mode=0o600)
            self._process = await self._machine.open_process(command, cwd=spec.cwd, env=spec.env)
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> Ending:
        """See ``Session.wait``."""
        assert self._process is not None
        try:
            code = await self._process.wait()
        except MachineError as error:
            return Ending(str(error), expected=self._told)
        return _ending(code, await self.screen(), expected=self._told)

    async def screen(self) -> str:
        """See ``Session.screen``."""
        if self._screen is not None:
            return self._screen
        try:
            transcript = await self._machine.read_file(self._transcript)
        except (OSError, MachineError):
            return ""
        return "\n".join(transcript.decode().splitlines()[-LINES:])

    @property
    def terminal(self) -> Terminal | None:
        """The transcript as it grows."""
        return Terminal(("tail", "-n", str(LINES), "-f", self._transcript))

    async def stop(self) -> None:
        """See ``Session.stop``."""
        self._told = True
        await to_end(self._stop)

    async def _stop(self) -> None:
        if self._screen is None:
            self._screen = await self.screen()
        if self._process is not None:
            await self._process.aclose()
        try:
            await self._machine.exec(["rm", "-f", self._settings, self._transcript])
        except MachineError:
            return  # gone, and the files with it


def _ending(code: int, screen: str, *, expected: bool) -> Ending:
    if expected:
        return Ending("it was told to stop", code, screen, expected=True)
    if code < 0:
        return Ending(f"it was killed by signal {-code}", code, screen)
    return Ending(f"it ended with exit code {code}", code, screen)
