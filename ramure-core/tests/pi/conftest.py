"""What the tests of the pi harness share: a machine, a run's side, a scripted model.

They run the real pi in the real tmux, with each tool set that ``RAMURE_TEST_PI_22`` and
``RAMURE_TEST_PI_20`` name (folders of installed pi packages, set by ``make``).
"""

import json
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ramure.harnesses.pi.harness import PiHarness
from ramure.machine import Machine, Process
from ramure.run import protocol
from ramure.transport import Route
from ramure.values import AgentSpec, ExecResult, MachineRef

HANGS = 30
"""Seconds after which a test that waits has failed."""

TOOL_SETS = [name for name in ("RAMURE_TEST_PI_22", "RAMURE_TEST_PI_20") if os.environ.get(name)]


def pytest_generate_tests(metafunc):
    if "pi" in metafunc.fixturenames:
        wanted = ["RAMURE_TEST_PI_22", "RAMURE_TEST_PI_20"]
        found = wanted if os.environ.get("CI") == "true" else TOOL_SETS
        metafunc.parametrize("pi", found or wanted[:1], indirect=True)


@pytest.fixture
def pi(request, monkeypatch):
    """The tool set that the test runs with, by the name of its variable."""
    where = os.environ.get(request.param)
    if not where:
        pytest.fail(f"{request.param} names no pi: run make setup")
    monkeypatch.setenv("RAMURE_PI", where)
    return request.param


class HereProcess(Process):
    def __init__(self, process):
        self._process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    async def wait(self):
        return await self._process.wait()

    async def signal(self, number):
        self._process.send_signal(number)

    async def kill(self):
        self._process.kill()

    async def resize(self, size):
        raise AssertionError

    async def aclose(self):
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()


class HereMachine(Machine):
    """This computer, as simply as it can be."""

    here = True
    transports = ("direct",)
    name = "here"

    def __init__(self, folder):
        self.workdir = str(folder)
        self.state_dir = str(folder / "state")
        self.ref = MachineRef("here", "here")

    async def open_process(self, command, *, cwd=None, env=None, user=None, pty=None):
        return HereProcess(await anyio.open_process(command, cwd=cwd))

    async def exec(self, command, *, timeout=None, input=None, cwd=None):  # noqa: A002 the contract
        with anyio.fail_after(timeout or HANGS):
            done = await anyio.run_process(command, input=input or b"", cwd=cwd, check=False)
        return ExecResult(str(command), done.returncode, done.stdout, done.stderr)

    async def destroy(self):
        raise AssertionError


class Run:
    """A run's side of the protocol, in its simplest form: one agent, one connection at a time."""

    def __init__(self, socket, token):
        self.socket, self.token = str(socket), token
        self.got, self.sent = 0, 0
        self.messages, self.outbox, self.hellos = [], [], []
        self.changed = anyio.Event()
        self.stream = None

    async def serve(self, stream):
        lines = BufferedByteReceiveStream(stream)
        try:
            hello = msgspec.json.decode(
                await lines.receive_until(b"\n", 1 << 24), type=protocol.Hello
            )
            assert hello.token == self.token
            self.hellos.append(hello)
            await self.put(stream, protocol.Welcome(v=1, run="r", got=self.got, lease=5.0))
            self.stream = stream
            for message in self.outbox:
                if message.n > hello.got:
                    await self.put(stream, message)
            while True:
                await self.take(stream, await lines.receive_until(b"\n", 1 << 24))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            pass
        except anyio.ClosedResourceError:
            pass
        finally:
            if self.stream is stream:
                self.stream = None
            await anyio.aclose_forcefully(stream)

    async def take(self, stream, line):
        data = json.loads(line)
        if data["t"] in ("ack", "ping", "pong"):
            return
        message = msgspec.json.decode(line, type=protocol.FromAgent)
        if message.n <= self.got:
            return
        assert message.n == self.got + 1
        self.got = message.n
        self.messages.append(message)
        await self.put(stream, protocol.Ack(n=self.got))
        self.changed.set()
        self.changed = anyio.Event()

    @staticmethod
    async def put(stream, message):
        await stream.send(msgspec.json.encode(message) + b"\n")

    async def send(self, message):
        self.sent += 1
        message.n = self.sent
        self.outbox.append(message)
        if self.stream:
            await self.put(self.stream, message)

    async def say(self, name, text):
        await self.send(protocol.Deliver(id=name, text=text))

    async def offer(self, *names):
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        defs = [protocol.ToolDef(name, f"The tool {name}.", schema) for name in names]
        await self.send(protocol.Tools(tools=defs))

    def of(self, kind, **fields):
        return [
            message
            for message in self.messages
            if isinstance(message, kind)
            and all(getattr(message, name) == value for name, value in fields.items())
        ]

    async def wait_for(self, kind, count=1, **fields):
        """The count-th message of this kind with these fields, once it is there."""
        with anyio.fail_after(HANGS):
            while len(found := self.of(kind, **fields)) < count:
                await self.changed.wait()
        return found[count - 1]

    async def wait_idle(self):
        """Until the last that was said of its state is that it is idle."""
        with anyio.fail_after(HANGS):
            while not (states := self.of(protocol.State)) or states[-1].state != "idle":
                await self.changed.wait()


class Model:
    """An OpenAI-compatible server that answers as ``script`` says, one step a request.

    A step is a text, a dict ``{tool: arguments}``, a status to fail with, or an async function.
    """

    def __init__(self):
        self.script, self.requests, self.port = [], [], 0

    async def serve(self, stream: ByteReceiveStream):
        lines = BufferedByteReceiveStream(stream)
        async with stream:
            try:
                head = (await lines.receive_until(b"\r\n\r\n", 1 << 20)).decode().lower()
                size = int(head.split("content-length:")[1].split("\r\n")[0])
                self.requests.append(json.loads(await lines.receive_exactly(size)))
                step = self.script.pop(0) if self.script else "nothing more to say"
                if callable(step):
                    step = await step()
                await stream.send(self.answer(step))
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
                pass

    def answer(self, step):
        if isinstance(step, int):
            body = json.dumps({"error": {"message": f"scripted {step}"}})
            return f"HTTP/1.1 {step} No\r\nconnection: close\r\n\r\n{body}".encode()
        if isinstance(step, dict):
            calls = [
                {
                    "index": i,
                    "id": f"call_{len(self.requests)}_{i}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for i, (name, arguments) in enumerate(step.items())
            ]
            delta, reason = {"role": "assistant", "tool_calls": calls}, "tool_calls"
        else:
            delta, reason = {"role": "assistant", "content": step}, "stop"
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        chunks = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage},
        ]
        frames = "".join(f"data: {json.dumps({'id': 'x', **chunk})}\n\n" for chunk in chunks)
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        return f"{head}{frames}data: [DONE]\n\n".encode()

    def said(self, number=-1):
        """The texts of the user's messages in a request."""
        texts = []
        for message in self.requests[number]["messages"]:
            if message["role"] == "user":
                content = message["content"]
                texts.append(content if isinstance(content, str) else content[0]["text"])
        return texts


class Agent:
    """One agent under test and all that belongs to it."""

    def __init__(self, folder, harness, machine, spec, run, model):
        self.folder, self.harness, self.machine, self.spec = folder, harness, machine, spec
        self.run, self.model, self.session = run, model, None

    async def start(self):
        route = type("Direct", (Route,), {"address": f"unix:{self.run.socket}"})()
        self.session = await self.harness.start(self.machine, self.spec, route)

    def tmux(self, *command):
        argv = ["tmux", "-S", self.session.describe()["tmux_socket"], *command]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=HANGS)

    def type(self, text):
        self.tmux("send-keys", "-t", "=w1:", "-l", text)
        self.tmux("send-keys", "-t", "=w1:", "Enter")

    def processes(self):
        """Every live process that belongs to this agent, by what it carries in its environment."""
        mark = f"RAMURE_AGENT={self.spec.run}/".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def pi_pid(self):
        ready = self.run.of(protocol.Ready)
        return ready[-1].pid


@pytest.fixture
def make_agent(tmp_path_factory, pi):
    """Makes agents: ``async with make_agent(...) as agent``."""

    @asynccontextmanager
    async def make(*, models=None, env=None, cwd="work dir", **fields):
        folder = tmp_path_factory.mktemp("pi")
        work = folder / cwd
        work.mkdir(parents=True, exist_ok=True)
        state = folder / "state"
        own = state / "w1"
        own.mkdir(mode=0o700, parents=True)
        model = Model()
        run = Run(folder / "run.sock", token="token-of-the-agent")
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as http,
            await anyio.create_unix_listener(run.socket) as unix,
            anyio.create_task_group() as tasks,
        ):
            model.port = http.extra(anyio.abc.SocketAttribute.local_port)
            tasks.start_soon(http.serve, model.serve)
            tasks.start_soon(unix.serve, run.serve)
            pi_folder = folder / "pi folder"
            pi_folder.mkdir()
            (pi_folder / "models.json").write_text(models or models_json(model.port))
            (pi_folder / "settings.json").write_text(
                '{"defaultProvider": "scripted", "defaultModel": "scripted", "quietStartup": true}'
            )
            spec = AgentSpec(
                run=folder.name,
                address="w1",
                token=run.token,
                state_dir=str(own),
                cwd=str(work),
                env={
                    "PI_CODING_AGENT_DIR": str(pi_folder),
                    "SCRIPTED_KEY": "key-of-the-model",
                    **(env or {}),
                },
                lease=5.0,
                **fields,
            )
            agent = Agent(folder, PiHarness(), HereMachine(folder), spec, run, model)
            try:
                yield agent
            except BaseException:
                print(*run.messages, sep="\n")
                print(*(list(r["messages"])[-1] for r in model.requests), sep="\n")
                print(await agent.session.screen() if agent.session else "not started")
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    if agent.session:
                        await agent.session.stop()
                    for pid in agent.processes():
                        os.kill(pid, signal.SIGKILL)
                tasks.cancel_scope.cancel()

    return make


def models_json(port):
    model = {
        "id": "scripted",
        "name": "scripted",
        "reasoning": False,
        "input": ["text"],
        "cost": {"input": 1, "output": 1, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": 100000,
        "maxTokens": 1000,
    }
    provider = {
        "baseUrl": f"http://127.0.0.1:{port}/v1",
        "api": "openai-completions",
        "apiKey": "SCRIPTED_KEY",
        "models": [model],
    }
    return json.dumps({"providers": {"scripted": provider}})
