"""What the tests of the command share: programs that run, and the command, each a real process."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest

import measured
import parts

HANGS = 60
"""Seconds after which something that is awaited has failed."""

PROGRAM = """
import asyncio
from ramure import agent, agent_process, connect, current_process, current_runtime, expose
from ramure import machine, spawn, wait

@agent_process
async def child():
    @expose
    async def double(x: int) -> dict:
        return {"doubled": x * 2}
    await agent("writer", harness="scripted")
    await wait()

@agent_process
async def main():
    @expose
    async def add(a: int, b: int = 10) -> int:
        return a + b
    @expose
    async def greet(name: str) -> str:
        return f"hello {name}"
    @expose
    async def told(what: object) -> str:
        return repr(what)
    @expose
    async def broken():
        raise ValueError("kaput")
    @expose
    async def slow():
        await asyncio.sleep(1000)
    worker = await agent("worker", harness="scripted")
    reviewer = await agent("reviewer", harness="scripted", machine=worker.machine)
    connect(worker, reviewer, direction="forward")
    spare = await machine()
    spawn(child)
    while not any(process.agents for process in current_process().children):
        await asyncio.sleep(0.01)
    print("ready", current_runtime().id, spare.name, flush=True)
    return await wait()

asyncio.run(main())
"""


class Program:
    """A program in a process of its own, whose run is live."""

    def __init__(self, folder, source, env):
        self.output = folder / "output.txt"
        script = folder / "program.py"
        script.write_text(source)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(script)],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        word, _, rest = self.process.stdout.readline().decode().partition(" ")
        assert word == "ready", self.output.read_text()
        self.id, *self.said = rest.split()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(HANGS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self.process.stdout.close()


class Done:
    """What a command gave."""

    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


class House:
    """A folder with a home of ramure's, and what is started with it."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        # No person's settings, keys or terminal.
        kept = {k: v for k, v in os.environ.items() if not k.endswith(("_API_KEY", "_TOKEN"))}
        for name in ("TMUX", "TMUX_PANE", "NO_COLOR", "FORCE_COLOR"):
            kept.pop(name, None)
        own = {"RAMURE_HOME": str(self.home), "HOME": str(folder / "person")}
        terminal = {"TERM": "xterm-256color", "COLUMNS": "200"}
        self.env = kept | measured.environment() | own | terminal
        self._stack = contextlib.ExitStack()

    def start(self, source=PROGRAM, **more):
        """Start a program whose first line on stdout is ``ready`` and its run's id."""
        folder = self.folder / f"program{len(list(self.folder.glob('program*')))}"
        folder.mkdir()
        program = Program(folder, source, self.env | more)
        self._stack.callback(program.end)
        return program

    def ramure(self, *arguments, stdin="", **more):
        """Run the command to its end; without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "ramure", *arguments],
            cwd=self.folder,
            input=stdin,
            env=self.env | more,
            capture_output=True,
            text=True,
            timeout=HANGS,
            check=False,
        )
        return Done(done)

    def terminal(self, *arguments, **more):
        """Run the command in a terminal."""
        command = [sys.executable, "-m", "ramure", *arguments]
        screen = Screen(command, self.env | more, self.folder)
        self._stack.callback(screen.close)
        return screen

    def log(self, run, name="_runtime"):
        """The events that a run has logged, of one agent or of all processes."""
        path = self.home / "logs" / run / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def close(self):
        self._stack.close()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    with contextlib.closing(house):
        yield house


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A house with a live run, for tests that leave both as they are."""
    house = House(tmp_path_factory.mktemp("shared"))
    with contextlib.closing(house):
        house.live = house.start()
        yield house


@pytest.fixture
def live(house):
    """A live run with agents, machines and endpoints."""
    return house.start()


@pytest.fixture
def plugins(house):
    """Install plugins, each of its source, by a PYTHONPATH."""

    def install(**sources):
        folder = house.folder / "site"
        for name, source in sources.items():
            told = folder / f"{name}-1.0.dist-info"
            told.mkdir(parents=True)
            (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (told / "entry_points.txt").write_text(f"[ramure]\n{name} = {name}\n")
            (folder / f"{name}.py").write_text(source)
        return {"PYTHONPATH": str(folder)}

    return install


STUBBORN = """
from ramure.backends.local import LocalBackend, LocalImage
from ramure.hookspecs import BackendInfo, hookimpl

class StubbornImage(LocalImage):
    backend = "stubborn"

class Stubborn(LocalBackend):
    name = "stubborn"
    image_type = StubbornImage
    async def destroy(self, ref):
        raise OSError("it is in use")
    async def provision(self, *args, **kwargs):
        made = await super().provision(*args, **kwargs)
        made.destroy = lambda: self.destroy(made.ref)
        return made

@hookimpl
def ramure_register_backends():
    return [BackendInfo("stubborn", "A test's.", "stubborn:Stubborn", "stubborn:StubbornImage")]
"""


@pytest.fixture
def stubborn(house, plugins):
    """A live run with a machine that cannot be removed; then the house removes it."""
    env = plugins(stubborn=STUBBORN)
    program = house.start(
        PROGRAM.replace("@agent_process", '@agent_process(host="stubborn")'), **env
    )
    yield program
    program.end()
    (house.folder / "site" / "stubborn.py").write_text(
        STUBBORN.replace("    async def destroy", "    async def _")
    )
    for _ in range(2):
        assert house.ramure("gc", **env).code == 0


class Screen:
    """A command in a terminal of the test's own."""

    def __init__(self, arguments, env, cwd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(arguments[0], arguments, env)
            finally:
                os._exit(127)
        self.seen = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def paste(self, text):
        """Type much at once; fail where it is not read."""
        data = text.encode()
        while data:
            _, ready, _ = select.select([], [self.fd], [], HANGS)
            assert ready, f"{len(data)} bytes of a paste are not read"
            data = data[os.write(self.fd, data[:1024]) :]

    def expect(self, text):
        """Read until it has shown ``text``; forget all until then."""
        deadline = time.monotonic() + HANGS
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if not self._read():
                pytest.fail(f"ended without {text!r}: {self.seen!r}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def _read(self):
        ready, _, _ = select.select([self.fd], [], [], 1)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def wait(self):
        """The exit code."""
        while self._read():
            pass
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def dead_run(house):
    """A run that left its socket, where nobody listens."""
    runtimes = house.home / "runtimes"
    runtimes.mkdir(parents=True, mode=0o700)
    path = runtimes / "1dead00000.sock"
    with socket.socket(socket.AF_UNIX) as left, contextlib.chdir(runtimes):
        left.bind(path.name)
    return path.stem


@pytest.fixture
def pi(house):
    """The real pi, as an environment that names it."""
    parts.share_compiled(house.home)
    return {"RAMURE_PI": parts.pi_package()}


def until(condition, what):
    """Wait until something holds."""
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(name="until")
def until_fixture():
    return until
