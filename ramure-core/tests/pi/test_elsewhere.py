"""pi on machines that have neither pi, nor Node.js, nor tmux, nor a C library."""

import json
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

import bare_roots
import parts
from bare_roots import RootBackend
from ramure import agent, agent_process, done, machine, wait
from ramure.harnesses.pi.tmux import TmuxServer
from ramure.plugins import Plugins
from ramure.testing import ScriptedModel, ToolCall
from ramure.testing._stage import processes_with
from ramure.values import PtySize

pytestmark = pytest.mark.pi

HANGS = 60


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """What the tests of this module assemble is there for the next one."""
    return tmp_path_factory.mktemp("sets")


@pytest.fixture
async def roots(monkeypatch, ramure_home, sets):
    """The backend is installed, and this computer has pi."""
    bare_roots.need_roots()
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    monkeypatch.setattr(Plugins, "load", lambda: Plugins.of(root=bare_roots))
    monkeypatch.setattr(RootBackend, "made", [])
    (ramure_home / "tools").mkdir(parents=True, mode=0o700)
    (ramure_home / "tools/sets").symlink_to(sets)
    yield RootBackend
    for one in RootBackend.made:
        assert not one.root.exists()
        with anyio.fail_after(HANGS):
            while inside(one.root):  # what removes an agent's keys ends after all else
                await anyio.sleep(0.02)


def inside(root):
    """The processes that have this root."""
    found = []
    for link in Path("/proc").glob("[0-9]*/root"):
        with suppress(OSError):
            if str(link.readlink()).startswith(str(root)):
                found.append(link)
    return found


async def finisher(name, **options):
    """An agent whose call of ``finish`` ends the process."""
    worker = await agent(name, **options)

    @worker.on("finish")
    async def finish(summary: str) -> str:
        done(summary)
        return "Recorded."

    return worker


@agent_process(host="root", timeout=150)
async def quick_start():
    worker = await finisher("worker")
    await worker.send("Look around, then finish.")
    return await wait()


LOOK = "pwd; command -v tmux node pi; echo locale $LOCPATH$RAMURE_LOCPATH; ls / | grep lib"
SCRIPT = [
    ToolCall("bash", command=LOOK),
    lambda request: ToolCall("finish", summary=request.results[-1].text),
    "",
]


async def test_the_quick_start(roots, capfd):
    async with ScriptedModel(SCRIPT) as model:
        with model.use():
            said = await quick_start()
    assert said.split("\n")[:2] == ["/work", "locale"]
    assert "lib" not in said
    assert capfd.readouterr().err.count("bringing pi") == 1


async def test_from_a_folder_that_is_mounted_read_only(roots, monkeypatch, capfd):
    monkeypatch.setattr(roots, "mounts", True)
    async with ScriptedModel(SCRIPT) as model:
        with model.use():
            said = await quick_start()
    assert said.startswith("/work\n")
    assert "bringing" not in capfd.readouterr().err


async def test_agents_at_once_share_what_is_brought(roots, capfd):
    @agent_process(host="root", timeout=150)
    async def main():
        place = await machine()
        assert place.transports == ()
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two"):
                tasks.start_soon(lambda name: agent(name, machine=place), name)
        await agent("three", machine=place)
        assert place.transports == ("relay",)
        return await place.exec("ls -A /run/ramure/tools")

    async with ScriptedModel([""]) as model:
        with model.use():
            there = await main()
    assert len(there.stdout.split()) == 1
    assert capfd.readouterr().err.count("bringing pi") == 1


async def test_the_terminal(roots):
    """tmux that was brought knows people's terminals, and what is not ASCII."""

    @agent_process(host="root", timeout=150)
    async def main():
        worker = await agent("worker")
        await worker.send("Draw.")
        terminal = worker.terminal
        process = await worker.machine.open_process(
            terminal.command,
            env={"TERM": "xterm-256color", **terminal.env},
            pty=PtySize(100, 30),
        )
        seen = b""
        with anyio.fail_after(HANGS):
            async with process:
                while "▚ häß".encode() not in seen:
                    seen += await process.stdout.receive()

    async with ScriptedModel(["A picture: ▚ häß"]) as model:
        with model.use():
            await main()


async def test_cancelled_while_it_is_brought(roots, monkeypatch):
    """Wherever the program is stopped, nothing is left (see the fixture)."""
    began = anyio.Event()
    upload = bare_roots.RootMachine.upload

    async def slow(self, local, remote):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload, self, local, remote)
            await anyio.sleep(0.3)
            began.set()

    monkeypatch.setattr(bare_roots.RootMachine, "upload", slow)
    async with ScriptedModel(SCRIPT) as model:
        with model.use():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quick_start)
                with anyio.fail_after(HANGS):
                    await began.wait()
                tasks.cancel_scope.cancel()


# --- keys


def found(text, *folders):
    """The files below these folders that hold this text."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def pi_folder(root):
    """The one agent's state folder, and its own pi folder as its machine names it."""
    [keys] = (root / "run/ramure").glob("agent*/keys")
    return keys.parent, Path(keys.read_text().strip())


def gone(*folders):
    return not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("memory", [True, False], ids=["in memory", "on disk"])
async def test_an_agent_gets_the_key_of_its_provider_only(roots, tmp_path, monkeypatch, memory):
    person = tmp_path / "person"
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(person))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(roots, "shared_memory", "yes" if memory else "no")
    seen = {}

    @agent_process(host="root", timeout=150)
    async def main(key):
        worker = await finisher("worker")
        root = roots.made[-1].root
        state, folder = pi_folder(root)
        seen["folder"] = folder if memory else root / folder.relative_to("/")
        assert str(folder).startswith("/dev/shm/ramure-" if memory else "/run/ramure/agent")
        assert seen["folder"].stat().st_mode & 0o777 == 0o700
        holding = found(key, seen["folder"])
        assert {path.name for path in holding} == {"models.json"}
        assert not [path for path in holding if path.stat().st_mode & 0o077]
        assert memory == (not found(key, state, root / "root", root / "tmp"))
        assert not found("another-key", seen["folder"], state)
        assert not processes_with(key)  # neither arguments nor environment
        await worker.send("Finish.")
        return await wait()

    async with ScriptedModel([ToolCall("finish", summary="well"), ""]) as model:
        model.pi_folder(person)
        models = json.loads((person / "models.json").read_text())
        models["providers"]["other"] = {**models["providers"]["scripted"], "apiKey": "another-key"}
        (person / "models.json").write_text(json.dumps(models))
        auth = {"openai": {"type": "api_key", "key": "another-key"}}
        (person / "auth.json").write_text(json.dumps(auth))
        before = {path: path.read_bytes() for path in person.iterdir()}
        assert await main(model.key) == "well"
    assert not seen["folder"].exists()
    assert {path: path.read_bytes() for path in person.iterdir()} == before


async def test_a_cancelled_start_leaves_no_key(roots, monkeypatch):
    made = []
    began = anyio.Event()

    async def never(self, *arguments):
        made.append(pi_folder(roots.made[-1].root)[1])
        assert not gone(*made)
        began.set()
        await anyio.sleep_forever()

    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(TmuxServer, "start", never)
    async with ScriptedModel([""]) as model:
        with model.use():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quick_start)
                with anyio.fail_after(HANGS):
                    await began.wait()
                tasks.cancel_scope.cancel()
    assert str(made[0]).startswith("/dev/shm/ramure-")
    assert gone(*made)
