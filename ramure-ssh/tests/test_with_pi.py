"""Whole programs whose agents, the real pi in the real tmux, work on an SSH host."""

import os

import anyio
import pytest

import accounts
import parts
from quick_start import run_task
from ramure import AgentStartFailed, agent, agent_process, done, wait
from ramure.testing import ScriptedModel, ToolCall
from ramure_ssh.image import SSHImage

pytestmark = pytest.mark.pi

HANGS = 150


@pytest.fixture
def pi_there(keys):
    """The environment of a host that has pi."""
    return parts.pi_environment()


@pytest.mark.parametrize("relay", [True, False])
async def test_the_quick_start(new_server, pi_there, ramure_home, there, relay):
    new_server(env=pi_there)
    image = SSHImage(relay=relay)
    on_the_host = agent_process(host="ssh://own", image=image, timeout=HANGS)(run_task)
    used = []

    async def look(machine):
        used.extend(machine.transports)

    script = [
        ToolCall("bash", command="echo $HOME"),
        lambda request: ToolCall("finish", summary=request.results[0].text.strip()),
        "Goodbye.",
    ]
    async with ScriptedModel(script) as model:
        said = await on_the_host("Write haikus.", env=model.env(), prepare=look)
    assert said == str(there)
    assert used[0] == ("relay" if relay else "ssh")  # without one: the server's own forward
    assert not list((ramure_home / "runtimes").iterdir())
    assert not (there / ".ramure" / "machines").exists()


async def test_tools_are_brought_once_and_without_root(
    new_server, ramure_home, there, tmp_path, monkeypatch
):
    accounts.need_accounts()
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    programs = there / "bin"
    programs.mkdir()
    for program in os.scandir("/usr/bin"):
        if program.name not in {"node", "npm", "pi", "tmux"}:
            (programs / program.name).symlink_to(program.path)
    options = accounts.make(tmp_path / "etc", there)
    new_server(env={"PATH": str(programs)}, **options)
    on_the_host = agent_process(host="ssh://worker@own", timeout=2 * HANGS)(run_task)
    brought = []
    for _ in range(2):
        script = [ToolCall("finish", summary="done"), "Goodbye."]
        async with ScriptedModel(script) as model:
            with model.use():
                assert await on_the_host("Write haikus.") == "done"
        tools = [entry.stat() for entry in os.scandir(there / ".ramure" / "tools")]
        brought.append({(entry.st_ino, entry.st_mtime_ns) for entry in tools})
        assert {entry.st_uid for entry in tools} == {accounts.WORKER}
    assert len(brought[0]) == 1
    assert brought[0] == brought[1]  # the second run has found them
    assert not (there / ".ramure" / "machines").exists()


async def test_a_host_without_tmux_and_none_to_be_brought(
    without, ramure_home, there, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    without("node", "npm", "pi", "tmux")
    here = tmp_path / "bin"
    here.mkdir()
    for program in os.scandir("/usr/bin"):
        if program.name != "tmux":
            (here / program.name).symlink_to(program.path)
    monkeypatch.setenv("PATH", str(here))
    on_the_host = agent_process(host="ssh://own", timeout=2 * HANGS)(run_task)
    with pytest.raises(AgentStartFailed, match=r"has no tmux.*install tmux there"):
        await on_the_host("Write haikus.")
    assert not (there / ".ramure" / "machines").exists()


@pytest.mark.parametrize("relay", [True, False])
async def test_an_agent_works_on_while_the_server_is_restarted(
    new_server, pi_there, ramure_home, there, relay
):
    server = new_server(env=pi_there)
    notes, away = [], anyio.Event()

    @agent_process(host="ssh://own", image=SSHImage(relay=relay, keepalive=1), timeout=HANGS)
    async def main(env):
        worker = await agent("worker", env=env)

        @worker.on("note")
        async def note(n: int) -> str:
            notes.append(n)
            if n == 1:
                server.stop(rudely=True)
                away.set()
            return "Noted."

        @worker.on("finish")
        async def finish(summary: str) -> str:
            done(summary)
            return "Recorded."

        await worker.send("Take notes, then finish.")
        return await wait()

    async def start_again():
        await away.wait()
        await anyio.sleep(5)
        server.start()

    script = [*(ToolCall("note", n=n) for n in range(4)), ToolCall("finish", summary="noted"), ""]
    async with ScriptedModel(script) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(start_again)
        assert await main(model.env()) == "noted"
    assert notes == [0, 1, 2, 3]
    assert not list((ramure_home / "runtimes").iterdir())
    assert not (there / ".ramure" / "machines").exists()
