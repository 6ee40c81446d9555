#!/usr/bin/env python3
"""Take the pictures of terminals in docs/images: `make pictures`.

Everything is run for real, on the pi that the tests use, with a script for a model, and shown in a
tmux: what that showed becomes an SVG. Home, folders and runs' ids get names that tell nothing of
the computer on which the pictures were taken.

    scripts/pictures.py [--to FOLDER] [doctor|why|demo|pool]…
"""

import io
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import anyio
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from ramure.testing import Fail, ScriptedModel, ToolCall
from ramure.testing import Text as Said
from ramure.testing.request import Request
from ramure.testing.script import Turn

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
PI = Path(os.environ["RAMURE_TEST_PI_22"])
NODE = PI.parents[1] / ".bin"
HANGS = 120
"""Seconds after which something that was waited for will not come."""

IDS = ("1ng6hbj8qe", "1ng6hbp2vd", "1ng6hbtcx7")
"""What runs are called in the pictures, in the order of their starts."""

WIDE = 96
"""Columns of most terminals: more would be hard to read beside text."""

POEMS = {"tea": "Steam, a cup, a thought.", "rain": "Gutters full of song."}

FORMAT = re.sub(r"\n    @font-face \{\{.*?\n    \}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""rich's, without fonts from elsewhere."""


HOME = "/home/me"
"""What the home is called in the pictures. The real one's path is as long, so that columns fit."""


class Terminal:
    """A tmux of our own, in a home of its own."""

    def __init__(self, home: Path, images: Path) -> None:
        self.home = home
        self._images = images
        self.work = self.home / "project"
        self.work.mkdir()
        self._socket = str(home / ".tmux")
        keep = {k: v for k, v in os.environ.items() if k in ("LANG", "USER")}
        path = f"{NODE}:{ROOT / '.venv/bin'}:/usr/local/bin:/usr/bin:/bin"
        self.env = {**keep, "HOME": str(home), "PATH": path, "RAMURE_PI": str(PI)}
        self.env["TMPDIR"] = str(home / "tmp")
        (home / "tmp").mkdir()

    async def tmux(self, *words: str) -> str:
        """A command of tmux's."""
        command = ["tmux", "-u", "-S", self._socket, "-f", "/dev/null", *words]
        done = await anyio.run_process(command, env=self.env, cwd=self.work, stderr=sys.stderr)
        return done.stdout.decode()

    @asynccontextmanager
    async def running(self, command: str, columns: int, rows: int) -> AsyncIterator[None]:
        """Run a command in a session until the block is left."""
        size = ("-x", str(columns), "-y", str(rows))
        await self.tmux("new-session", "-d", "-s", "it", *size, command)
        await self.tmux("set-option", "-t", "it", "status", "off")
        try:
            yield
        finally:
            await self.tmux("kill-session", "-t", "it")

    async def screen(self) -> str:
        """What the session shows, with its colours."""
        return await self.tmux("capture-pane", "-e", "-p", "-t", "it")

    async def shown(self, command: str, columns: int, rows: int) -> str:
        """What a command has printed at its end."""
        signal_end = f"tmux -S {self._socket} wait-for -S end"
        async with self.running(f"{command}; {signal_end}; exec sleep 600", columns, rows):
            with anyio.fail_after(HANGS):
                await self.tmux("wait-for", "end")
            return await self.screen()

    def anonymous(self, text: str) -> str:
        """The same, without anything that is this computer's."""
        text = text.replace(str(self.home), HOME)
        text = re.sub(rf"{PI.parents[1]}\S*/bin/node", "/usr/local/bin/node", text)
        text = text.replace(str(PI.parents[1]), "/usr/local/lib/node_modules")
        text = text.replace(str(ROOT), HOME)
        logs = self.home / ".ramure/logs"
        runs = sorted(path.name for path in logs.iterdir()) if logs.exists() else []
        for run, name in zip(runs, IDS, strict=False):
            text = text.replace(run, name)
        return text

    async def picture(self, name: str, command: str, text: str, columns: int) -> None:
        """Save what a command showed."""
        lines = self.anonymous(text).rstrip().splitlines()
        console = Console(
            width=columns, record=True, file=io.StringIO(), force_terminal=True, highlight=False
        )
        console.print(Text(f"$ {command}", style="bold"))
        for line in lines:
            console.print(Text.from_ansi(line))
        console.print()
        svg = console.export_svg(title="", unique_id=name, code_format=FORMAT)
        told = f"A terminal: {command}"
        svg = svg.replace("<svg ", '<svg role="img" aria-labelledby="told" ', 1)
        svg = svg.replace(">\n", f'>\n    <title id="told">{told}</title>\n', 1)
        svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
        for private in (str(ROOT), str(self.home), tempfile.gettempdir(), os.uname().nodename):
            assert private not in svg, f"{name}.svg would show {private}"
        picture = self._images / f"{name}.svg"
        picture.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE))
        print(picture)


@asynccontextmanager
async def program(terminal: Terminal, file: str, model: ScriptedModel) -> AsyncIterator[None]:
    """Run a program of the tutorial until the block is left, and wait for its end."""
    env = {**terminal.env, **model.env()}
    process = await anyio.open_process(
        [ROOT / ".venv/bin/python", file],
        env=env,
        cwd=terminal.work,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        with anyio.fail_after(3 * HANGS):
            yield
            await process.wait()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            with anyio.CancelScope(shield=True), anyio.move_on_after(HANGS):
                await process.wait()


async def until(there: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is there."""
    with anyio.fail_after(HANGS):
        while not await there():  # noqa: ASYNC110 a screen tells nobody
            await anyio.sleep(0.3)


def spun(screen: str) -> str:
    """A screen without what turns while pi waits."""
    return "\n".join(line for line in screen.splitlines() if "Working" not in line)


class Poets:
    """What the agents of the pool say; they wait for ``gate`` before they finish."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.at_work = 0

    async def __call__(self, request: Request) -> Turn:
        """One turn."""
        if "pool_add_task" in request.tool_names:
            tasks = [ToolCall("pool_add_task", spec=f"A haiku on {subject}.") for subject in POEMS]
            return tasks if request.turn == 0 else "Both are being written."
        subject = next(s for s in POEMS if s in request.messages[0].text)
        file = f"{subject}.txt"
        match request.turn:
            case 0:
                words = f"A haiku on {subject}: a line that can be heard. I write it down first."
                return [Said(words), ToolCall("write", path=file, content=f"{POEMS[subject]}\n")]
            case 1:
                return [
                    Said("Let me count its syllables."),
                    ToolCall("bash", command=f"cat {file}"),
                ]
            case 2:
                self.at_work += 1
                await self.gate.wait()
                return ToolCall("finish", summary=POEMS[subject])
        return "The haiku is finished."


def copy_programs(folder: Path) -> None:
    """Put the tutorial's programs there."""
    for page in (ROOT / "docs/tutorial").glob("*.md"):
        for name, text in re.findall(
            r"```python\n# (\w+\.py)\n(.*?)```", page.read_text(), re.DOTALL
        ):
            (folder / name).write_text(text)


async def of_doctor(terminal: Terminal) -> None:
    """What is installed, and what is missing."""
    text = await terminal.shown("ramure doctor", 400, 40)  # wrapped once its paths are shorter
    await terminal.picture("doctor", "ramure doctor", text, WIDE)


async def of_a_failure(terminal: Terminal) -> None:
    """Why a program with a refused key has failed."""
    async with ScriptedModel([Fail(401)]) as model, program(terminal, "haiku.py", model):
        pass
    text = await terminal.shown("ramure why", WIDE, 60)
    await terminal.picture("why", "ramure why", text, WIDE)


async def of_the_demo(terminal: Terminal) -> None:
    """The demo, from its start to its haikus."""
    command = "ramure demo --scripted"
    lines = (await terminal.shown(command, 80, 60)).rstrip().splitlines()
    await terminal.picture("demo", command, "\n".join([*lines[:16], "…"]), 80)


async def of_the_pool(terminal: Terminal) -> None:
    """The pool at work: its run, its tree, an agent's terminal; and afterwards its log."""
    poets = Poets()

    async def at_work() -> bool:
        return poets.at_work == len(POEMS)

    async def pi_rests() -> bool:
        before = await terminal.screen()
        await anyio.sleep(1)  # it paints line by line
        return "Took" in before and spun(before) == spun(await terminal.screen())

    async with ScriptedModel(poets) as model, program(terminal, "pool.py", model):
        await until(at_work)
        text = await terminal.shown("ramure ls --all", 80, 10)
        await terminal.picture("ls", "ramure ls --all", text, 80)
        text = await terminal.shown("ramure status", WIDE, 30)
        await terminal.picture("status", "ramure status", text, WIDE)
        async with terminal.running("ramure connect worker", 90, 29):
            await until(pi_rests)
            text = await terminal.screen()
        await terminal.picture("pi", "ramure connect worker", text, 90)
        poets.gate.set()
    kinds = " ".join(f"--type {t}" for t in ("task_added", "text", "tool_call", "done"))
    command = f"ramure logs {kinds}"
    text = await terminal.shown(command, WIDE, 40)
    await terminal.picture("logs", command, text, WIDE)


def new_home() -> Path:
    """A new folder with a path as long as ``HOME``."""
    while True:
        home = Path("/tmp") / secrets.token_hex(2)[:3]
        try:
            home.mkdir(mode=0o700)
        except FileExistsError:
            continue
        assert len(str(home)) == len(HOME)
        return home


async def main() -> None:
    """Take them all, or those that are named."""
    shots = {"doctor": of_doctor, "why": of_a_failure, "demo": of_the_demo, "pool": of_the_pool}
    arguments = ArgumentParser(description=main.__doc__)
    arguments.add_argument("names", nargs="*", help=f"some of {', '.join(shots)}")
    arguments.add_argument("--to", type=Path, default=IMAGES, help="the folder to save them in")
    wanted = arguments.parse_args()
    home = new_home()
    try:
        terminal = Terminal(home, wanted.to)
        copy_programs(terminal.work)
        for name in wanted.names or shots:
            await shots[name](terminal)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    anyio.run(main)
