"""The harness of the clerk: starts its program on any machine that has Python, and watches it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import anyio

from ramure.errors import AgentStartFailed, MachineError
from ramure.harness import Harness, Session
from ramure.machine import Machine, Process
from ramure.transport import Route
from ramure.values import AgentSpec, Ending, Problem, Terminal

PROGRAM = Path(__file__).with_name("clerk.py")
LAUNCH = 'umask 077; exec >"$0" 2>&1 python3 "$@"'
"""Runs Python with a file, its owner's alone, as its screen."""
STOPPING = 10.0
LINES = 200
"""Of its screen, so many of the last ones are shown."""


# --8<-- [start:harness]
class ClerkHarness(Harness):
    """Starts clerks: agents that do what their messages say, without a model."""

    name: ClassVar[str] = "clerk"
    options: ClassVar[frozenset[str]] = frozenset()

    async def check(self, machine: Machine) -> list[Problem]:
        """See ``Harness.check``."""
        if (await machine.exec(["sh", "-c", "command -v python3"])).ok:
            return []
        return [Problem(f"there is no python3 on {machine.name}", "install Python 3.11 or newer")]

    async def start(self, machine: Machine, spec: AgentSpec, route: Route) -> Session:
        """See ``Harness.start``. What is secret goes to the program's input, never to a file."""
        session = ClerkSession(machine, spec.state_dir)
        try:
            await session.start(spec, route)
        except (MachineError, OSError) as error:
            await session.stop()
            raise AgentStartFailed(str(error), agent=spec.address, machine=machine.name) from error
        except BaseException:
            await session.stop()
            raise
        return session


# --8<-- [end:harness]


# --8<-- [start:session]
class ClerkSession(Session):
    """A clerk that runs. Its screen is a file."""

    def __init__(self, machine: Machine, folder: str) -> None:
        self._machine = machine
        self._screen = f"{folder}/screen.txt"
        self._program = f"{folder}/clerk.py"
        self._last: str | None = None
        self._process: Process | None = None
        self._told = False

    async def start(self, spec: AgentSpec, route: Route) -> None:
        """Start the program, and tell it what it has to know."""
        await self._machine.write_file(self._program, PROGRAM.read_bytes(), mode=0o600)
        command = ["sh", "-c", LAUNCH, self._screen, self._program]
        self._process = await self._machine.open_process(command, cwd=spec.cwd, env=spec.env)
        told = {
            "harness": ClerkHarness.name,
            "address": route.address,
            "agent": spec.address,
            "token": spec.token,
            "lease": spec.lease,
        }
        await self._process.stdin.send(json.dumps(told).encode() + b"\n")
        await self._process.stdin.aclose()

    async def wait(self) -> Ending:
        """See ``Session.wait``."""
        assert self._process is not None
        try:
            code = await self._process.wait()
        except MachineError as error:
            return Ending(str(error), expected=self._told)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        reason = "it was told to stop" if self._told else f"it ended {how}"
        return Ending(reason, code, await self.screen(), expected=self._told)

    async def screen(self) -> str:
        """See ``Session.screen``."""
        if self._last is not None:
            return self._last
        try:
            shown = await self._machine.read_file(self._screen)
        except (MachineError, OSError):
            return ""
        return "\n".join(shown.decode("utf-8", "replace").splitlines()[-LINES:])

    @property
    def terminal(self) -> Terminal | None:
        """Its screen as it grows."""
        return Terminal(("tail", "-n", str(LINES), "-f", self._screen))

    async def stop(self) -> None:
        """See ``Session.stop``."""
        self._told = True
        with anyio.move_on_after(STOPPING, shield=True):
            if self._process is not None:
                await self._process.aclose()
            self._last = await self.screen()


# --8<-- [end:session]
