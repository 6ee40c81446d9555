"""Machines in memory: the parts of the contracts that they have, and programs on them."""

import anyio
import pytest

from ramure import agent, agent_process, done, machine, wait
from ramure.errors import MachineGone, PlacementError
from ramure.testing import ScriptedHarness, ToolCall, installed, memory
from ramure.testing._memory_files import File
from ramure.testing.backends import BackendContract
from ramure.testing.machines import MachineContract
from ramure.testing.memory import MemoryBackend, MemoryImage, MemoryMachine

pytestmark = pytest.mark.usefixtures("ramure_home")


class TestMachine(MachineContract):
    shell = False

    @pytest.fixture
    async def machine(self):
        machine = MemoryMachine()
        yield machine
        await machine.destroy()


class TestBackend(BackendContract):
    nonsense = "anything"
    wrong_hosts = ("{name}+variant", "{name}+variant://box")

    @pytest.fixture
    async def backend(self):
        return MemoryBackend()

    @pytest.fixture
    def image(self):
        return MemoryImage(takes=0.1)


class TestBackendElsewhere(TestBackend):
    host = "memory://rack-1"


# --- commands


async def test_functions_play_commands():
    box = MemoryMachine(MemoryImage(files={"in/a.txt": "one"}))

    @box.command("git")
    async def git(call):
        await call.complain(f"in {call.cwd}\n")
        return f"{call.words[1:]} {call.env} {(await call.read()).decode()}"

    @box.command("make && make test")
    async def make(call):
        return 3

    result = await box.exec(["git", "a b", "*"], input="input", cwd="in", env={"A": "1"})
    assert result.stdout == "('a b', '*') {'A': '1'} input"
    assert (result.stderr, result.exit_code) == ("in /work/in\n", 0)
    assert (await box.exec("git status")).stdout.startswith("('status',)")
    assert (await box.exec("make && make test")).exit_code == 3
    assert (await box.exec("cat in/a.txt")).stdout == "one"
    assert box.calls == ["git 'a b' '*'", "git status", "make && make test", "cat in/a.txt"]


async def test_text_that_needs_a_shell_is_told():
    box = MemoryMachine()
    for text in ("echo a | cat", "echo $HOME", "no-such-program"):
        result = await box.exec(text)
        assert result.exit_code == 127
        assert "no shell here" in result.stderr


async def test_what_a_function_raises_is_kept():
    async def bad(call):
        raise ValueError("the test's own")

    box = MemoryMachine(MemoryImage(commands={"*": bad}))
    result = await box.exec(["anything"])
    assert result.exit_code == 1
    assert "the test's own" in result.stderr
    assert isinstance(box.errors[0], ValueError)


async def test_a_time_out_cancels_the_function():
    ended = anyio.Event()

    async def slow(call):
        try:
            await call.say("so far")
            await anyio.sleep(1000)
        finally:
            ended.set()

    box = MemoryMachine(MemoryImage(commands={"slow": slow}))
    result = await box.exec("slow", timeout=0.2)
    assert (result.timed_out, result.stdout) == (True, "so far")
    assert ended.is_set()


async def test_its_end_ends_all():
    box = MemoryMachine()
    process = await box.open_process(["sleep", "1000"])
    await box.destroy()
    assert await process.wait() == -9
    await process.aclose()
    with pytest.raises(MachineGone):
        await box.read_file("x")


async def test_a_tree_goes_up_with_its_links(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "hard").hardlink_to(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "outward").symlink_to("/etc/hosts")
    box = MemoryMachine()
    await box.upload(tmp_path, "tree")
    assert await box.read_file("tree/link") == b"x"
    assert box.files.look("/work/tree/hard") == File(b"x", 0o640)
    assert box.files.look("/work/tree/outward").leads_to == "/etc/hosts"


# --- programs


async def test_a_program_with_an_agent():
    harness = ScriptedHarness([ToolCall("finish", summary="42"), "Goodbye."])

    async def count(call):
        return str(len(call.words))

    image = MemoryImage(files={"task.txt": "count"}, commands={"count": count})

    @agent_process(host="memory")
    async def main():
        worker = await agent("worker", harness=harness, image=image)

        @worker.on("finish")
        async def finish(summary: str) -> str:
            """Call with the result."""
            done(f"{summary} {(await worker.exec('count a b')).stdout}")
            return "Recorded."

        await worker.send("Do it.")
        return await wait()

    with installed(memory=memory):
        assert await main() == "42 3"
    assert not memory._machines


async def test_where_machines_are_made():
    hosts = []

    @agent_process(host={"memory://a": 1, "memory://b": 1})
    async def main():
        hosts.extend([(await machine()).ref.data["host"] for _ in range(2)])

    with installed(memory=memory):
        await main()
    assert sorted(hosts) == ["memory://a", "memory://b"]
    assert not memory._machines


async def test_it_is_there_only_meanwhile():
    @agent_process(host="memory")
    async def main():
        await machine()

    with installed(memory=memory):
        await main()
    with pytest.raises(PlacementError, match="memory"):
        await main()
