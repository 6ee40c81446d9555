"""The run's side for harnesses under test: a listener, a channel for each agent, what they say."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio

from ramure.harness import Harness, Session
from ramure.machine import Machine
from ramure.run.channel import Channel
from ramure.run.listen import Listener
from ramure.run.protocol import Deliver, FromAgent, Ready, Result, State, ToolDef, Tools
from ramure.transport import Route
from ramure.values import AgentSpec

T = TypeVar("T", bound=FromAgent)


@dataclass
class Started:
    """An agent under test.

    Attributes:
        spec: what the harness was given.
        patience: seconds after which a wait has failed.
        heard: all that it said.
        channel: the way to its bridge.
        session: what the harness gave; not there until it has.
    """

    spec: AgentSpec
    patience: float
    heard: list[FromAgent] = field(default_factory=list)
    channel: Channel = field(init=False)
    session: Session = field(init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def hear(self, message: FromAgent) -> None:
        """Keep what the bridge says."""
        self.heard.append(message)
        self._changed.set()
        self._changed = anyio.Event()

    def said(self, kind: type[T], **fields: Any) -> list[T]:
        """The messages of a kind with these fields, so far."""
        return [
            message
            for message in self.heard
            if isinstance(message, kind)
            and all(getattr(message, name) == value for name, value in fields.items())
        ]

    async def says(self, kind: type[T], count: int = 1, **fields: Any) -> T:
        """Wait for the count-th message of a kind with these fields."""
        with anyio.move_on_after(self.patience):
            while len(self.said(kind, **fields)) < count:
                await self._changed.wait()
        found = self.said(kind, **fields)
        if len(found) < count:
            raise AssertionError(
                f"{self.spec.address} did not say {kind.__name__} {fields or ''} within "
                f"{self.patience:g} s; it said {self.heard}, and shows:\n"
                f"{await self.session.screen()}"
            )
        return found[count - 1]

    async def idles(self) -> None:
        """Wait until it has worked, and the last that it said of its state is that it is idle."""
        with anyio.fail_after(self.patience):
            while not (states := self.said(State)) or states[-1].state != "idle":
                await self._changed.wait()

    async def ready(self) -> Ready:
        """Wait until it has reported."""
        return await self.says(Ready)

    def tell(self, text: str) -> str:
        """Put a message to it; give the message's id."""
        id_ = secrets.token_hex(4)
        self.channel.send(Deliver(id=id_, text=text))
        return id_

    def offer(self, *names: str) -> None:
        """Give it tools, each with the optional argument ``text``."""
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        self.channel.send(Tools(tools=[ToolDef(name, f"Tool {name}.", schema) for name in names]))

    def answer(self, call: str, text: str) -> None:
        """Answer a call."""
        self.channel.send(Result(call=call, ok=True, text=text))


class Stage:
    """The run's side. Used with ``async with``; in the end it stops every agent.

    ``given`` are fields of every agent's ``AgentSpec``.
    """

    def __init__(
        self,
        harness: Harness,
        machine: Machine,
        patience: float,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.harness = harness
        self.machine = machine
        self.patience = patience
        self.given = given or {}
        self.agents: list[Started] = []
        # A run's name is its own: harnesses find what their agents have started by it.
        self.run = f"contract-{secrets.token_hex(4)}"
        self._listener = Listener(self.run)
        self._folder = Path(tempfile.mkdtemp(prefix="rmr-"))

    @property
    def socket(self) -> str:
        """Where the run listens."""
        return str(self._folder / "run.sock")

    async def __aenter__(self) -> Self:
        await self._listener.open_unix(self.socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            for agent in self.agents:
                if hasattr(agent, "session"):
                    await agent.session.stop()
            await self._listener.aclose()
            await self.harness.aclose()
        shutil.rmtree(self._folder)

    async def leave(self) -> None:
        """End the run."""
        await self._listener.aclose()

    async def start(
        self, address: str = "w1", *, token: str = "", route: str = "", **fields: Any
    ) -> Started:
        """Start an agent.

        Args:
            address: its address.
            token: what it is told; by default what the run expects.
            route: what it is to dial; by default the run.
            fields: further ones of its ``AgentSpec``.
        """
        agent = await self.plan(address, token=token, **fields)
        return await self.launch(agent, route=route)

    async def plan(self, address: str = "w1", *, token: str = "", **fields: Any) -> Started:
        """Make everything for an agent but the agent."""
        expected = secrets.token_urlsafe(32)
        folder = f"{self.machine.state_dir}/agents/{address}"
        await self.machine.exec(["mkdir", "-p", "-m", "700", folder], check=True)
        spec = AgentSpec(
            run=self.run,
            address=address,
            token=token or expected,
            state_dir=folder,
            **{"cwd": self.machine.workdir, **self.given, **fields},
        )
        agent = Started(spec, self.patience)
        agent.channel = Channel(
            run=self.run,
            agent=address,
            token=expected,
            lease=spec.lease,
            on_message=agent.hear,
        )
        self._listener.register(agent.channel)
        return agent

    async def launch(self, agent: Started, *, route: str = "") -> Started:
        """Start the agent."""
        way = _Way(route or f"unix:{self.socket}")
        agent.session = await self.harness.start(self.machine, agent.spec, way)
        self.agents.append(agent)
        return agent


class _Way(Route):
    def __init__(self, address: str) -> None:
        self.address = address


def processes_with(text: str, *, environment: bool = True) -> dict[int, str]:
    """The processes of this computer that have a text in their command line, or environment."""
    found = {}
    for folder in _processes():
        try:
            said = (folder / "cmdline").read_bytes()
            if environment:
                said += b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is somebody else's
        if text.encode() in said:
            found[int(folder.name)] = said.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def _processes() -> Iterator[Path]:
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) != os.getpid():
            yield folder
