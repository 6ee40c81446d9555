"""What the tests of the pi harness share: an agent on this computer, its channel, its model.

They run the real pi in the real tmux, with each tool set that ``RAMURE_TEST_PI_22`` and
``RAMURE_TEST_PI_20`` name (folders of installed pi packages, set by ``make``).
"""

import os
import signal
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

import parts
from ramure.backends.local import LocalBackend, LocalImage
from ramure.harnesses.pi.harness import PiHarness
from ramure.run import protocol
from ramure.run.channel import Channel
from ramure.run.listen import Listener
from ramure.testing import ScriptedModel
from ramure.transports.direct import DirectRoute
from ramure.values import AgentSpec, Host

HANGS = 60
"""Seconds after which a test that waits has failed."""


def pytest_generate_tests(metafunc):
    if "pi" in metafunc.fixturenames:
        # Where all have to be there, or none is, the test says what is missing.
        found = [name for name in parts.PIS if os.environ.get(name)]
        everywhere = os.environ.get("CI") == "true" or not found
        metafunc.parametrize("pi", parts.PIS if everywhere else found, indirect=True)


@pytest.fixture
def pi(request, monkeypatch, ramure_home):
    """The tool set that the test runs with, by the name of its variable."""
    parts.share_compiled(ramure_home)
    monkeypatch.setenv("RAMURE_PI", parts.pi_package(request.param))
    return request.param


class Run:
    """A run's side: the real listener and channel, and what came through them."""

    def __init__(self, listener, address, token, lease):
        self.listener = listener
        self.messages = []
        self.links = []
        self._changed = anyio.Event()
        self.channel = Channel(
            run="run",
            agent=address,
            token=token,
            lease=lease,
            on_message=self._take,
            on_link=self.links.append,
        )
        self.listener.register(self.channel)

    def _take(self, message):
        self.messages.append(message)
        self._changed.set()
        self._changed = anyio.Event()

    def send(self, message):
        self.channel.send(message)

    def say(self, name, text):
        self.send(protocol.Deliver(id=name, text=text))

    def answer(self, call, text="yes", **fields):
        self.send(protocol.Result(call=call.call, ok=fields.pop("ok", True), text=text, **fields))

    def offer(self, *names):
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        defs = [protocol.ToolDef(name, f"The tool {name}.", schema) for name in names]
        self.send(protocol.Tools(tools=defs))

    def cut(self):
        """Break the connection, as a bad network does."""
        self.channel._link.close()

    def of(self, kind, **fields):
        return [
            message
            for message in self.messages
            if isinstance(message, kind)
            and all(getattr(message, name) == value for name, value in fields.items())
        ]

    def ids(self, kind):
        return [message.id for message in self.of(kind)]

    async def wait_for(self, kind, count=1, **fields):
        """The count-th message of this kind with these fields, once it is there."""
        with anyio.fail_after(HANGS):
            while len(found := self.of(kind, **fields)) < count:
                await self._changed.wait()
        return found[count - 1]

    async def wait_idle(self):
        """Until the last that was said of its state is that it is idle."""
        with anyio.fail_after(HANGS):
            while not (states := self.of(protocol.State)) or states[-1].state != "idle":
                await self._changed.wait()


class Agent:
    """One agent under test and all that belongs to it."""

    def __init__(self, folder, harness, machine, spec, run):
        self.folder, self.harness, self.machine = folder, harness, machine
        self.spec, self.run, self.session = spec, run, None
        self.script = []
        """What the model says, a turn a request."""
        self.model = ScriptedModel(self._play)

    async def _play(self, request):
        return self.script.pop(0) if self.script else "Nothing more to say."

    def said(self, number=-1):
        """The texts of the user's messages in a request to the model."""
        return [m.text for m in self.model.requests[number].messages if m.role == "user"]

    async def start(self):
        route = DirectRoute(f"unix:{self.folder}/run.sock")
        self.session = await self.harness.start(self.machine, self.spec, route)

    def again(self, incarnation):
        """Another incarnation is to be started: it has a channel and a token of its own."""
        self.run.listener.unregister(self.run.channel)
        token = f"token-{incarnation}"
        self.spec = replace(self.spec, incarnation=incarnation, token=token)
        self.run = Run(self.run.listener, "w1", token, self.spec.lease)

    def tmux(self, *command):
        argv = ["tmux", "-S", self.session.describe()["tmux_socket"], *command]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=HANGS)

    def type(self, text):
        self.tmux("send-keys", "-t", "=w1:", "-l", text)
        self.tmux("send-keys", "-t", "=w1:", "Enter")

    def processes(self, run=None):
        """Every live process of an agent of the run, by what it carries in its environment."""
        mark = f"RAMURE_AGENT={run or self.spec.run}/".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def pi_pid(self):
        return self.run.of(protocol.Ready)[-1].pid

    async def story(self):
        """What happened, for whoever has to find out why a test failed."""
        screen = await self.session.screen() if self.session else "not started"
        requests = [request.messages[-1] for request in self.model.requests]
        return "\n".join(map(str, [*self.run.messages, *requests, screen]))


@pytest.fixture
def make_agent(tmp_path_factory, ramure_home, pi):
    """Makes agents: ``async with make_agent(...) as agent``."""

    @asynccontextmanager
    async def make(*, models=None, env=None, lease=5.0, **fields):
        folder = tmp_path_factory.mktemp("pi")
        work = folder / "work dir"
        work.mkdir()
        harness = PiHarness()
        backend = LocalBackend()
        # Agents are found by it: no test beside this one may have the same.
        name = f"run-{uuid4().hex[:8]}"
        labels = {"ramure.run": name}
        image = LocalImage(work)
        machine = await backend.provision(image, Host("local"), name="here", labels=labels)
        own = Path(machine.state_dir) / "w1"
        own.mkdir(mode=0o700)
        listener = Listener("run")
        await listener.open_unix(folder / "run.sock")
        run = Run(listener, "w1", "token-of-the-agent", lease)
        pi_folder = folder / "pi folder"
        spec = AgentSpec(
            run=name,
            address="w1",
            token="token-of-the-agent",
            state_dir=str(own),
            cwd=str(work),
            lease=lease,
            env={"PI_CODING_AGENT_DIR": str(pi_folder), **(env or {})},
            **fields,
        )
        agent = Agent(folder, harness, machine, spec, run)
        try:
            async with agent.model as model:
                model.pi_folder(pi_folder)
                if models is not None:
                    (pi_folder / "models.json").write_text(models)
                yield agent
        except BaseException:
            print(await agent.story())
            raise
        finally:
            with anyio.CancelScope(shield=True):
                if agent.session:
                    await agent.session.stop()
                left = agent.processes()
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                await listener.aclose()
                await machine.destroy()
        assert not left

    return make
