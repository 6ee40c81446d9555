"""What an agent is: how it starts and ends, its name, its machine, its peers."""

import asyncio

import anyio
import pytest

import ramure
from ramure import (
    agent,
    agent_process,
    connect,
    current_process,
    done,
    spawn,
    wait,
)
from ramure.tools import Tool


async def test_send_returns_once_the_bridge_has_it_and_taken_tells_the_rest(one_agent):
    async with one_agent() as (_, w, puppet):
        await w.send("one")
        assert not w.idle
        taken = w.events.listen_for("taken", timeout=20)
        message = await puppet.bridge.receive()
        puppet.bridge.taken(message)
        await taken


async def test_a_stop_that_fails_keeps_nothing_else_from_ending(puppets, ramure_home, monkeypatch):
    async def broken(self):
        raise FileNotFoundError("the folder is gone")

    @agent_process
    async def main():
        await agent("w", harness=puppets)
        monkeypatch.setattr(type(puppets.started["w"][0]), "stop", broken)
        return "fine"

    assert await main() == "fine"
    assert not list((ramure_home / "runtimes").iterdir())


async def test_an_agent_that_cannot_work_says_why(puppets):
    puppets.problem = "pi has no usable model: set a key"

    @agent_process
    async def main():
        await agent("w", harness=puppets)

    with pytest.raises(ramure.AgentStartFailed, match="no usable model"):
        await main()
    assert puppets.started["w"][0].stopped


async def test_what_a_machine_lacks_is_told_with_its_cure(puppets):
    puppets.problems = [ramure.Problem("tmux is missing", "apt-get install tmux")]

    @agent_process
    async def main():
        await agent("w", harness=puppets)

    with pytest.raises(ramure.AgentStartFailed, match=r"tmux is missing \(apt-get install tmux\)"):
        await main()


async def test_cancelling_a_start_leaves_nothing(puppets, ramure_home):
    puppets.mute = True

    @agent_process
    async def main():
        with anyio.move_on_after(0.3):
            await agent("w", harness=puppets)
        process = current_process()
        return list(process.agents), list(process.runtime.tenancies)

    assert await main() == ([], [])
    assert puppets.started["w"][0].stopped


async def test_agents_of_several_processes_may_share_a_name(puppets):
    up = []
    together = asyncio.Event()

    @agent_process
    async def job():
        up.append((await agent("worker", harness=puppets)).address)
        if len(up) == 3:
            together.set()
        await together.wait()

    @agent_process
    async def main():
        await asyncio.gather(job(), job(), job())

    await main()
    assert sorted(up) == ["worker", "worker-2", "worker-3"]


async def test_a_name_is_unique_in_its_process(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets)
        with pytest.raises(ramure.InvalidName, match="already"):
            await agent("w", harness=puppets)
        with pytest.raises(ramure.InvalidName, match="already"):
            await asyncio.gather(agent("x", harness=puppets), agent("x", harness=puppets))

    await main()


@pytest.mark.parametrize("name", ["../../x", "", "a b", ".hidden", "x" * 65, "a/b", "ü"])
async def test_names_that_could_do_harm_are_refused(puppets, name):
    @agent_process
    async def main():
        with pytest.raises(ramure.InvalidName):
            await agent(name, harness=puppets)

    await main()
    assert not puppets.started


async def test_a_name_that_begins_another_harms_nobody(puppets):
    @agent_process
    async def main():
        await agent("w1x", harness=puppets)
        await agent("w1", harness=puppets)
        return [a.status for a in current_process().agents.values()]

    assert await main() == ["idle", "idle"]


async def test_several_agents_on_one_machine(puppets, tmp_path):
    @agent_process(image=str(tmp_path))
    async def main():
        box = await ramure.machine()
        a = await agent("a", harness=puppets, machine=box)
        b = await agent("b", harness=puppets, machine=box)
        await a.write_file("f.txt", "shared")
        assert a.machine is b.machine
        with pytest.raises(ramure.UsageError, match="machine="):
            await agent("c", harness=puppets, machine=box, image=".")
        return await b.read_file("f.txt")

    assert await main() == b"shared"


async def test_cwd_and_env(puppets, tmp_path):
    (tmp_path / "sub dir").mkdir()

    @agent_process(image=str(tmp_path))
    async def main():
        w = await agent("w", harness=puppets, cwd="sub dir", env={"SECRET": "s3"})
        await w.write_file("here.txt", "x")
        return (await w.exec("pwd -P")).stdout.strip()

    where = await main()
    assert where == str((tmp_path / "sub dir").resolve())
    assert (tmp_path / "sub dir" / "here.txt").read_text() == "x"
    spec = puppets.started["w"][0].spec
    assert spec.cwd == where
    assert spec.env == {"SECRET": "s3"}
    assert "s3" not in repr(spec)
    assert spec.token not in repr(spec)


async def test_files_go_to_and_from_its_working_directory(puppets, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "tree", there / "sub dir"):
        folder.mkdir(parents=True)
    (here / "tree" / "leaf").write_text("green")
    (here / "one").write_text("1")

    @agent_process(image=str(there))
    async def main():
        w = await agent("w", harness=puppets, cwd="sub dir")
        await w.upload(here / "one", "one")
        await w.upload(here / "tree", "deep/tree")
        await w.download("deep/tree", here / "back")
        await w.download(str(there / "sub dir" / "one"), here / "one back")

    await main()
    assert (there / "sub dir" / "one").read_text() == "1"
    assert (there / "sub dir" / "deep" / "tree" / "leaf").read_text() == "green"
    assert (here / "back" / "leaf").read_text() == "green"
    assert (here / "one back").read_text() == "1"


async def test_a_missing_working_directory_is_told(puppets):
    @agent_process
    async def main():
        await agent("w", harness=puppets, cwd="/no/such/dir")

    with pytest.raises(ramure.AgentStartFailed, match="/no/such/dir"):
        await main()


async def test_usage_is_added_up(one_agent):
    async with one_agent() as (_, w, puppet):
        for _ in range(2):
            puppet.bridge.usage(model="m", input=10, output=5, cost=0.25)
        with anyio.fail_after(20):
            while w.usage.input < 20:
                await anyio.sleep(0.01)
        assert w.usage.cost == 0.5


async def test_attach_gives_an_agent_the_endpoints_of_a_process(puppets):
    @agent_process
    async def pool():
        tasks = []

        @ramure.expose
        async def add_task(spec: str) -> int:
            """Add a task."""
            tasks.append(spec)
            return len(tasks)

        @ramure.expose
        async def close() -> None:
            done(tasks)

        return await wait()

    @agent_process
    async def main():
        handle = spawn(pool)
        monitor = await agent("monitor", harness=puppets)
        await handle.attach(monitor, prefix="pool_", only=["add_task"])
        await monitor.send("go")
        puppet = await puppets.up("monitor")
        assert list(puppet.bridge.tools) == ["pool_add_task"]
        assert puppet.bridge.tools["pool_add_task"].description == "Add a task."
        assert (await puppet.bridge.call("pool_add_task", {"spec": "x"})).text == "1"
        assert not (await puppet.bridge.call("pool_add_task", {"spce": "x"})).ok
        with pytest.raises(ramure.EndpointError):
            await handle.attach(monitor, only=["nix"])
        await handle.call("close")
        late = await puppet.bridge.call("pool_add_task", {"spec": "x"})
        assert not late.ok
        assert "ended" in late.text
        return await handle

    assert await main() == ["x"]


async def test_attach_takes_no_other_tools_name(puppets):
    @agent_process
    async def pool(answer):
        @ramure.expose
        async def message() -> str:
            return answer

        @ramure.expose
        async def add() -> str:
            return answer

        return await wait()

    @agent_process
    async def main():
        one, two = spawn(pool, "one"), spawn(pool, "two")
        w = await agent("w", harness=puppets)
        connect(w, await agent("v", harness=puppets))

        @w.on("mine")
        async def mine() -> None: ...

        with pytest.raises(ramure.InvalidTool, match=r"'message'.*prefix="):
            await one.attach(w)
        with pytest.raises(ramure.InvalidTool, match=r"'message'.*built-in"):
            w.offer(Tool.of(mine, name="message"))
        await one.attach(w, only=["add"])
        with pytest.raises(ramure.InvalidTool, match=r"'add'.*prefix="):
            await two.attach(w, only=["add"])
        await two.attach(w, only=["add"], prefix="two_")
        await one.attach(w, only=["add"])
        await w.send("go")
        bridge = (await puppets.up("w")).bridge
        assert set(bridge.tools) == {"message", "send_file", "download_file"} | {
            *("mine", "add", "two_add")
        }
        assert (await bridge.call("add")).text == "one"
        one.cancel()
        with pytest.raises(ramure.ProcessCancelled):
            await one
        await two.attach(w, only=["add"])
        assert (await bridge.call("add")).text == "two"
        two.cancel()

    await main()


class TestPeers:
    """Built-in tools work along edges and in their direction, and nowhere else."""

    @staticmethod
    async def _pair(puppets, direction, tmp_path):
        a_dir, b_dir = tmp_path / "a", tmp_path / "b"
        a_dir.mkdir()
        b_dir.mkdir()
        a = await agent("a", harness=puppets, image=str(a_dir))
        b = await agent("b", harness=puppets, image=str(b_dir))
        connect(a, b, direction=direction)
        return (await puppets.up("a")).bridge, (await puppets.up("b")).bridge

    async def test_messages(self, puppets, tmp_path):
        @agent_process
        async def main():
            a, b = await self._pair(puppets, "both", tmp_path)
            assert (await a.call("message", {"receiver": "b", "message": "hi"})).ok
            assert (await b.receive()).text == "[From: a] hi"
            assert (await b.call("message", {"receiver": "a", "message": "ho"})).ok
            assert (await a.receive()).text == "[From: b] ho"

        await main()

    async def test_direction(self, puppets, tmp_path):
        @agent_process
        async def main():
            a, b = await self._pair(puppets, "forward", tmp_path)
            (tmp_path / "a" / "f").write_text("from a")
            assert (await a.call("message", {"receiver": "b", "message": "hi"})).ok
            assert not (await b.call("message", {"receiver": "a", "message": "hi"})).ok
            assert (await b.call("download_file", {"sender": "a", "path": "f"})).ok
            assert not (await a.call("download_file", {"sender": "b", "path": "f"})).ok
            refused = await a.call("message", {"receiver": "c", "message": "hi"})
            assert not refused.ok
            assert "b" in refused.text
            await anyio.sleep(0.05)
            return set(a.tools), set(b.tools)

        tools = await main()
        assert tools == ({"message", "send_file"}, {"download_file"})
        assert (tmp_path / "b" / "f").read_text() == "from a"

    async def test_files(self, puppets, tmp_path):
        data = bytes(range(256)) * 40_000

        @agent_process
        async def main():
            a, _ = await self._pair(puppets, "both", tmp_path)
            (tmp_path / "a" / "big").write_bytes(data)
            sent = await a.call("send_file", {"receiver": "b", "path": "big", "dest_path": "x/y"})
            assert sent.ok, sent.text
            missing = await a.call("send_file", {"receiver": "b", "path": "nix"})
            assert not missing.ok
            assert "nix" in missing.text

        await main()
        assert (tmp_path / "b" / "x" / "y").read_bytes() == data

    async def test_reserved_names(self, one_agent):
        async with one_agent() as (_, w, _):
            with pytest.raises(ramure.InvalidTool, match="built-in"):
                w.on("message")

    async def test_connect_wants_two(self, puppets):
        @agent_process
        async def main():
            a = await agent("a", harness=puppets)
            with pytest.raises(ramure.UsageError, match="itself"):
                connect(a, a)
            with pytest.raises(ramure.UsageError, match="backward"):
                connect(a, await agent("b", harness=puppets), direction="backward")

        await main()
