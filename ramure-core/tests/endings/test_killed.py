"""Programs that are killed, with their keepers or without: who cleans up, and when."""

import os
import signal
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

import ramure
from ending_programs import AT_WORK, BOUND, HANGS, KILLED, WITH_PI
from ramure.run import sweep
from ramure.run.runtime import LEASE_HERE as LEASE


def test_kill_9(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    deadline = time.monotonic() + KILLED
    while len(program.processes()) < 5:  # keeper, two agents, two sleepers
        assert time.monotonic() < deadline, program.processes()
        time.sleep(0.05)
    program.signal(signal.SIGKILL)
    program.end()
    program.wait_clean(KILLED)


PLUGIN = """
from pathlib import Path
from ramure.backends.local import LocalBackend, LocalImage
from ramure.hookspecs import BackendInfo, hookimpl

class OddImage(LocalImage):
    backend = "odd"

class Odd(LocalBackend):
    name = "odd"
    image_type = OddImage
    async def destroy(self, ref):
        await super().destroy(ref)
        Path(__file__).with_name("removed").touch()

@hookimpl
def ramure_register_backends():
    return [BackendInfo("odd", "a test's", "plugin:Odd", "plugin:OddImage")]
"""


@pytest.fixture
def plugin(tmp_path):
    """The folder of a plugin that is not installed, and found by where Python looks."""
    folder = tmp_path / "plugin"
    about = folder / "odd-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[ramure]\nodd = plugin\n")
    (folder / "plugin.py").write_text(PLUGIN)
    return folder


@pytest.mark.parametrize("found", ["PYTHONPATH", "sys.path"])
def test_kill_9_of_a_program_whose_ramure_is_not_installed(start, tmp_path, plugin, found):
    """Its keeper works in another folder, and needs what the program imports, by whatever path."""
    places = [Path(ramure.__file__).parents[1], *filter(lambda e: "site-packages" in e, sys.path)]
    relative = [os.path.relpath(place, tmp_path) for place in places]
    given = f"import sys; sys.path[:0] = {[*relative, str(plugin)]}\n"
    program = start(
        """
        @agent_process(host="odd")
        async def main():
            await machine()
            say("up")
            await wait()

        os.chdir("/")
        asyncio.run(main())
        """,
        before=given if found == "sys.path" else f"import sys; sys.path.append({str(plugin)!r})\n",
        python=sys._base_executable,  # nothing is installed there
        environment={"PYTHONPATH": os.pathsep.join(relative)} if found == "PYTHONPATH" else {},
    )
    program.hear("up")
    program.signal(signal.SIGKILL)
    program.end()
    program.wait_clean(KILLED)
    assert (plugin / "removed").exists()


def test_what_a_keeper_cannot_remove_it_says(start, plugin):
    """In the run's folder, for as long as that is there."""
    source = PLUGIN.replace("await super().destroy(ref)", 'raise OSError("it is in use")')
    (plugin / "plugin.py").write_text(source)
    program = start(
        """
        @agent_process(host="odd")
        async def main():
            await machine()
            say("up")
            await wait()

        asyncio.run(main())
        """,
        before=f"import sys; sys.path.append({str(plugin)!r})\n",
    )
    program.hear("up")
    program.signal(signal.SIGKILL)
    program.end()
    deadline = time.monotonic() + HANGS
    while not (said := list(program.home.glob("runtimes/*/keeper.txt"))) or program.processes():
        assert time.monotonic() < deadline, program.files()
        time.sleep(0.05)
    assert "it is in use" in said[0].read_text()
    (plugin / "plugin.py").write_text(PLUGIN)
    assert program.command("gc", environment={"PYTHONPATH": str(plugin)}).returncode == 0
    program.wait_clean(KILLED)


@pytest.mark.parametrize("by", ["gc", "next run"])
def test_kill_9_of_the_program_and_its_keeper(start, by):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    os.kill(program.keeper(), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    program.end()
    assert program.files()
    if by == "gc":
        assert program.command("gc").returncode == 0
    else:
        program.run_another()
    program.wait_clean(KILLED)


def test_a_live_run_is_never_touched(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    before = program.processes().keys()
    assert program.command("gc").returncode == 0
    assert program.command("ls").returncode == 0
    assert program.processes().keys() >= before
    assert program.process.poll() is None
    program.signal(signal.SIGTERM)
    program.end()
    program.wait_clean(BOUND)


def test_a_run_whose_keeper_was_killed_cleans_up_by_itself(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    os.kill(program.keeper(), signal.SIGKILL)
    program.signal(signal.SIGTERM)
    code, errors = program.end()
    assert code == -signal.SIGTERM, errors
    program.wait_clean(BOUND)


def test_a_stopped_program_is_not_dead(start):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    before = program.processes().keys()
    program.signal(signal.SIGSTOP)
    time.sleep(12)  # longer than the lease of agents on this computer
    assert program.command("gc").returncode == 0
    assert program.processes().keys() >= before
    program.signal(signal.SIGCONT)
    program.signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    program.wait_clean(BOUND)


def test_a_run_that_is_starting_is_not_taken_for_dead(tmp_path):
    """Its lock gets its name only when it is held."""
    seen = []
    rename = Path.rename

    def watched(self, target):
        seen.append(sweep.is_alive(self.parent) or not (self.parent / sweep.LOCK).exists())
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", watched)
        with sweep.new_lock(tmp_path):
            assert sweep.is_alive(tmp_path)
    assert seen == [True]
    assert not sweep.is_alive(tmp_path)


def test_a_forked_child_is_not_the_program(start):
    """Ending it ends nothing else, and with it alive the program's death is noticed."""
    then = """
    import multiprocessing, time
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=time.sleep, args=(20,)) for _ in range(2)]
    for child in children:
        child.start()
    children[0].terminate()
    await asyncio.to_thread(children[0].join)
    say("terminated")
    await wait()
    """
    program = start(AT_WORK.format(then=textwrap.dedent(then).strip().replace("\n", "\n    ")))
    program.hear("terminated")
    assert program.process.poll() is None
    program.signal(signal.SIGKILL)
    program.process.wait()
    deadline = time.monotonic() + KILLED
    while program.files():
        assert time.monotonic() < deadline, program.files()
        time.sleep(0.1)
    for pid in program.processes():  # the child that goes on, and the keeper on its way out
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    program.end()


@pytest.mark.pi
@pytest.mark.parametrize("by", ["gc", "next run"])
def test_kill_9_of_everything_leaves_nothing_that_is_not_found(start, pi, by):
    """Sockets in the short folder, too, which only tmux knew of."""
    program = start(WITH_PI)
    program.hear("up")
    os.kill(program.keeper(), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    while left := program.processes():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    program.end()
    assert any("tmux" in path or "/ramure/" in path for path in program.files())
    if by == "gc":
        assert program.command("gc").returncode == 0
    else:
        program.run_another()
    program.wait_clean(KILLED)


@pytest.mark.pi
@pytest.mark.parametrize("hangs", [False, True], ids=["works", "hangs"])
def test_kill_9_of_the_program_and_its_keeper_leaves_no_pi(start, pi, hangs):
    """Before any other run, or ``gc``: within the lease and some seconds nothing runs there."""
    program = start(WITH_PI)
    pids = program.hear("up")
    if hangs:
        for pid in pids:
            os.kill(int(pid), signal.SIGSTOP)
    os.kill(program.keeper(), signal.SIGKILL)
    program.signal(signal.SIGKILL)
    program.end()
    deadline = time.monotonic() + LEASE + 4 * KILLED
    while program.processes() or program.listening():
        assert time.monotonic() < deadline, (program.processes(), program.listening())
        time.sleep(0.1)
    assert program.command("gc").returncode == 0
    assert not program.files()
