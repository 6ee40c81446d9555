"""The pytest plugin: what its fixtures give, and what they find left behind."""

import pytest

import inner_pytest

TESTS = '''
import asyncio
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from ramure import agent, agent_process, current_runtime, done, machine, paths, wait
from ramure.testing import ScriptedHarness, ToolCall, memory
from ramure.testing.memory import MemoryBackend, MemoryImage
from ramure.values import Host

pytestmark = pytest.mark.anyio


@agent_process
async def program(**options):
    worker = await agent("worker", harness=ScriptedHarness([ToolCall("finish"), "."], **options))

    @worker.on("finish")
    async def finish() -> str:
        """Call it."""
        done(42)
        return "Recorded."

    await worker.send("Do it.")
    return await wait()


class TestClean:
    async def test_a_home(self, ramure_home, anyio_backend):
        assert anyio_backend == "asyncio"
        assert paths.home() == ramure_home
        assert await program() == 42
        assert len([*ramure_home.glob("logs/*")]) == 1

    async def test_another_home(self, ramure_home):
        assert [path.name for path in ramure_home.iterdir()] == ["tools"]
        assert paths.tools().resolve() == Path(os.environ["OUTER_HOME"], "tools")
        assert await program(process=True) == 42

    async def test_a_machine_in_memory(self, memory_host):
        @agent_process(host=memory_host)
        async def main():
            return (await (await machine()).exec("echo hello")).stdout

        assert await main() == "hello\\n"

    def test_without_a_loop(self, ramure_home):
        assert asyncio.run(program()) == 42


class TestLeaving:
    async def test_a_process(self):
        await program()
        subprocess.Popen(["sleep", "1000"], start_new_session=True)

    async def test_a_file(self):
        await program()
        tempfile.mkstemp(prefix="forgotten-")

    async def test_a_machine(self, memory_host):
        @agent_process(host=memory_host)
        async def main():
            labels = {"ramure.run": current_runtime().id}
            await machine()
            await MemoryBackend().provision(
                MemoryImage(), Host("memory"), name="forgotten", labels=labels
            )

        await main()

    async def test_a_run(self, ramure_home):
        await program()
        (ramure_home / "runtimes" / "forgotten").mkdir()

    async def test_nothing_of_theirs_is_left(self):
        assert not memory._machines
'''


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "conftest.py").write_text('pytest_plugins = ["ramure.testing.plugin"]\n')
    (folder / "test_it.py").write_text(TESTS)
    home = str(folder / "home")
    return inner_pytest.run(folder, "test_it.py", RAMURE_HOME=home, OUTER_HOME=home)


def test_programs_run_in_homes_of_their_own(ran):
    suite = ran.suites["TestClean"]
    assert {*suite} == {"passed"}, ran.output
    assert len(suite["passed"]) == 4


@pytest.mark.parametrize(
    ("test", "left"),
    [
        ("test_a_process", "process"),
        ("test_a_file", "temporary file"),
        ("test_a_machine", "machine forgotten on memory"),
        ("test_a_run", "files of a run"),
    ],
)
def test_what_is_left_is_told(ran, test, left):
    assert test in ran.suites["TestLeaving"]["error"], ran.output
    (report,) = [part for part in ran.output.split("____ ERROR") if f"{test} _" in part[:80]]
    assert f"- {left}" in report


def test_what_is_left_is_removed(ran):
    """The outer run would find the process, too."""
    assert "test_nothing_of_theirs_is_left" in ran.suites["TestLeaving"]["passed"]


def test_unless_it_is_asked_for_it_is_not_there(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    assert not [m for m in sys.modules if 'ramure' in m]\n"
    )
    ran = inner_pytest.run(tmp_path, "test_it.py", PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert ran.suites["test_it"]["passed"] == {"test_it"}, ran.output
