"""The pi harness: runs the pi coding agent unattended, in tmux, and says how it ended.

Everything goes through the machine, so that it works on any: a script puts what pi needs into the
agent's state folder (``launch.py``), tmux starts it (``tmux.py``), and the bridge in pi
(``bridge/``) speaks with the run. How pi ends is learnt without asking again and again, from a
process on the machine that blocks until the launcher has ended.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import anyio
from anyio import BrokenResourceError

from ramure import paths
from ramure._work import in_thread, to_end
from ramure.errors import AgentStartFailed, LinkBroken, MachineError, MachineGone
from ramure.harness import Harness, Session
from ramure.harnesses.pi import keys, launch, remote, toolset
from ramure.harnesses.pi.portable import PiToolSet
from ramure.harnesses.pi.tmux import TmuxServer, session_name
from ramure.harnesses.pi.toolset import Tools
from ramure.machine import Machine
from ramure.transport import Route
from ramure.values import AgentSpec, Ending, Json, Problem, Terminal

CAPTURE_WITHIN, TMUX_WITHIN, END_WITHIN = 2.0, 5.0, 10.0
"""Seconds that the steps of ``stop`` may take: the last screen, tmux's end, and pi's."""
PREPARE_WITHIN = 30.0
"""Seconds that writing an agent's files may take."""
LAST_LINES = 50
"""Lines above the last screen that belong to how pi ended."""
LAST_WORDS_WITHIN = 2.0
"""Seconds that the last screen may take to be complete."""
RETRY = 1.0
"""Seconds between two attempts to watch pi over a link that broke."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the agents of one machine share: tools, tmux server, and the bridge's path there."""

    tools: Tools
    server: TmuxServer
    bridge: str
    here: bool


class PiHarness(Harness):
    """Starts pi. One object serves one run.

    The ``AgentSpec.options`` it understands: ``thinking`` (a level as in ``pi --thinking``),
    ``approve`` (trust the working directory's own pi settings and extensions), and ``flags``
    (a list of further arguments).

    Agents on this computer use the person's own pi folder. Those elsewhere get only the key of
    their model's provider, unless ``keys`` says otherwise: a list of providers and environment
    variables, a mapping of these to keys, or ``[]`` for none (then their machine has to have one).
    """

    name = "pi"
    tools: PiToolSet
    options = frozenset({"thinking", "approve", "flags", "keys"})

    def __init__(self) -> None:
        self.tools = PiToolSet()
        self._places: dict[str, Place] = {}
        self._locks: dict[str, anyio.Lock] = {}

    def refuse(self, options: Mapping[str, Any]) -> str:
        """See ``Harness.refuse``."""
        return launch.refuse(options)

    async def check(self, machine: Machine) -> list[Problem]:
        """What is missing on the machine. Nothing is installed."""
        if _key(machine) in self._places:
            return []
        try:
            if not machine.here:
                await remote.locate(machine, self.tools)
                return []
            toolset.find_tmux()
            return [] if await toolset.find() else toolset.cannot_install()
        except AgentStartFailed as error:
            return [Problem(error.reason)]

    async def start(self, machine: Machine, spec: AgentSpec, route: Route) -> Session:
        """Start pi for an agent; see ``Harness.start``."""
        try:
            place = await self._place(machine)
            if route.address.startswith(("ws:", "wss:")):
                await _require_websocket(machine, spec, place.tools)
            session = PiSession(machine, spec, place)
            await session.start(route.address)
        except AgentStartFailed as error:
            raise AgentStartFailed(
                error.reason, agent=spec.address, machine=machine.name, screen=error.screen
            ) from error
        except MachineError as error:
            raise AgentStartFailed(str(error), agent=spec.address) from error
        return session

    async def _place(self, machine: Machine) -> Place:
        key = _key(machine)
        # On this computer all machines share the tools; elsewhere none waits for another.
        async with self._locks.setdefault("" if machine.here else key, anyio.Lock()):
            if key not in self._places:
                self._places[key] = await self._prepare(machine)
            return self._places[key]

    async def _prepare(self, machine: Machine) -> Place:
        if machine.here:
            here = next((p.tools for p in self._places.values() if p.here), None)
            tools = here or await toolset.ensure()
            bridge = str(files("ramure.harnesses.pi") / "bridge" / "index.ts")
        else:
            tools = await remote.locate(machine, self.tools)
            bridge = await remote.put_bridge(machine)
        return Place(tools, TmuxServer(machine, tools.tmux), bridge, here=machine.here)


async def _require_websocket(machine: Machine, spec: AgentSpec, tools: Tools) -> None:
    """Raise ``AgentStartFailed`` where pi's Node.js cannot reach the run by this way."""
    words = [tools.node, "-p", "process.version + ' ' + typeof WebSocket"]
    done = await machine.exec(words, env=spec.env, timeout=toolset.NODE_WITHIN)
    version, _, kind = done.stdout.strip().partition(" ")
    if done.ok and kind != "function":
        raise AgentStartFailed(
            f"Node.js {version}, which pi {tools.version} runs with, has no WebSocket, and the "
            "program asks for one (host=, port= or base_url=): use Node.js 22 or newer, or leave "
            "these out"
        )


def _key(machine: Machine) -> str:
    return machine.state_dir if machine.here else f"{machine.name}:{machine.state_dir}"


class PiSession(Session):
    """One pi in one tmux session."""

    def __init__(self, machine: Machine, spec: AgentSpec, place: Place) -> None:
        self._machine = machine
        self._spec = spec
        self._tools = place.tools
        self._server = place.server
        self._bridge = place.bridge
        self._name = session_name(spec.address)
        self._pane = ""
        self._screen = ""
        self._ending: Ending | None = None
        self._watching = anyio.Lock()
        self._stopping = anyio.Lock()
        self._told_to_stop = False
        self._stopped = False

    async def start(self, address: str) -> None:
        """Put everything in place and start pi; leave nothing where that fails."""
        spec = self._spec
        command = launch.command(spec, self._tools, self._bridge)
        here = self._machine.here
        access = None if here else await in_thread(partial(keys.grant, spec), pool="keys")
        script = launch.prepare(
            spec, self._tools, address, cache=self._cache(), keep=here, access=access
        )
        try:
            await self._prepare(script)
        except BaseException:
            await to_end(self._forget)
            raise
        # The mark is no secret, and has to be in the launcher's own environment.
        marked = f"{launch.MARK}={launch.mark(spec)}"
        words = ["env", marked, "sh", "-c", 'cd "$0" && . ./launch.sh', spec.state_dir, *command]
        try:
            self._pane = await self._server.start(self._name, words, f"{spec.state_dir}/tmux.conf")
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(MachineError, OSError):
                await self.stop()
            raise

    async def _prepare(self, script: str) -> None:
        done = await self._machine.exec(["sh", "-s"], input=script.encode(), timeout=PREPARE_WITHIN)
        if not done.ok:
            why = f"no answer in {PREPARE_WITHIN:g} s" if done.timed_out else done.stderr.strip()
            raise AgentStartFailed(f"{self._spec.state_dir} could not be prepared: {why}")

    async def _forget(self) -> None:
        with suppress(MachineError, OSError):  # the first failure is the one worth telling
            forget = launch.forget(self._spec)
            await self._machine.exec(forget, timeout=PREPARE_WITHIN, cwd="/")

    def _cache(self) -> str:
        """Where pi keeps what it compiles: for all of a person, or of a machine elsewhere."""
        machine = self._machine
        return str(paths.tools() / "cache") if machine.here else f"{machine.state_dir}/cache"

    async def wait(self) -> Ending:
        """See ``Session.wait``."""
        async with self._watching:
            if self._ending is None:
                try:
                    code, starved = await self._watch()
                except (MachineGone, FileNotFoundError) as error:
                    self._ending = Ending(str(error), expected=self._told_to_stop)
                else:
                    await self._last_words()
                    self._ending = self._explain(code, starved=starved)
            return self._ending

    async def screen(self) -> str:
        """See ``Session.screen``."""
        if self._ending is None:
            await self._capture()
        return self._screen

    @property
    def terminal(self) -> Terminal | None:
        """See ``Session.terminal``."""
        return self._server.terminal(self._name)

    async def stop(self) -> None:
        """See ``Session.stop``."""
        self._told_to_stop = True
        with anyio.CancelScope(shield=True):
            async with self._stopping:
                if self._stopped:
                    return
                with anyio.move_on_after(CAPTURE_WITHIN):
                    await self.screen()
                await self._end()
                self._stopped = True

    async def _last_words(self) -> None:
        """Take the last screen, once tmux has read all that pi said."""
        with anyio.move_on_after(LAST_WORDS_WITHIN):
            try:
                while not await self._server.is_over(self._pane):  # noqa: ASYNC110 tmux tells nobody
                    await anyio.sleep(0.05)
            except MachineError:
                return
        # tmux moves what a pane showed up by a line to tell that it is dead.
        await self._capture(history=LAST_LINES)

    async def _capture(self, *, history: int = 0) -> None:
        if not self._pane or self._stopped:
            return
        try:
            shown = await self._server.screen(self._pane, history=history)
        except MachineError:
            return
        if shown is not None:
            self._screen = shown

    async def _watch(self) -> tuple[int | None, bool]:
        """Wait for the launcher's end.

        Gives pi's exit code where it could still write it, and whether memory ran out.
        """
        while True:
            try:
                process = await self._machine.open_process(
                    ["sh", "watch.sh"], cwd=self._spec.state_dir
                )
                try:
                    said = b"".join([chunk async for chunk in process.stdout]).split()
                    await process.wait()
                finally:
                    with anyio.CancelScope(shield=True):
                        await process.aclose()
            except (LinkBroken, BrokenResourceError):  # whichever hears of a broken link first
                await anyio.sleep(RETRY)
            else:
                code = next((int(word) for word in said if word.isdigit()), None)
                return code, b"memory" in said

    def _explain(self, code: int | None, *, starved: bool) -> Ending:
        if self._told_to_stop:
            return Ending("it was told to stop", code, self._screen, expected=True)
        why = ": its machine ran out of memory" if starved else ""
        if code is None:
            return Ending(f"its terminal (tmux) was killed{why}", None, self._screen)
        if code == 0:
            return Ending("pi was quit", 0, self._screen)
        if code > 128:
            name = signal.Signals(code - 128).name
            return Ending(f"pi was killed by {name}{why}", 128 - code, self._screen)
        return Ending(f"pi ended with exit code {code}", code, self._screen)

    async def _end(self) -> None:
        """End the terminal, and then, whatever became of that, all that pi has started."""
        words = ["sh", f"{self._spec.state_dir}/end.sh", launch.mark(self._spec), "15"]
        try:
            try:
                with anyio.move_on_after(TMUX_WITHIN):
                    await self._server.end(self._name)
            finally:
                done = await self._machine.exec(words, timeout=END_WITHIN, cwd="/")
        except MachineGone:
            return
        if not done.ok:
            why = done.stderr.strip() or "some of its processes could not be ended"
            raise MachineError(f"pi: {why}", machine=self._machine.name)

    def describe(self) -> dict[str, Json]:
        """Versions and sockets, for people."""
        return {
            "pi": self._tools.version,
            "node": self._tools.node,
            "tmux_socket": self._server.socket,
            "tmux_session": self._name,
            "session_file": f"{self._spec.state_dir}/session.jsonl",
        }
