"""A folder for ramure's files that cannot be used: what programs and people are told."""

import os
import re
import subprocess
import sys

import pytest

import ramure
from ramure import agent_process


def is_a_file(home):
    home.write_text("")


def is_below_a_file(home):
    home.parent.mkdir(exist_ok=True)
    home.symlink_to("/dev/null/home")


def leads_nowhere(home):
    home.symlink_to(home.parent / "nowhere")


def has_a_file_for_its_runs(home):
    home.mkdir()
    (home / "runtimes").write_text("")


def is_not_ours(home):
    """Another user's, or without leave to write; for root there is only the first."""
    (home / "runtimes").mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(home / "runtimes", 12345, 12345)
    else:
        home.chmod(0o500)
        (home / "runtimes").chmod(0o500)


def has_a_file_for_its_logs(home):
    home.mkdir()
    (home / "logs").write_text("")


unusable = pytest.mark.parametrize(
    "spoil",
    [
        is_a_file,
        is_below_a_file,
        leads_nowhere,
        has_a_file_for_its_runs,
        is_not_ours,
        has_a_file_for_its_logs,
    ],
)


@agent_process
async def nothing():
    pass


@unusable
async def test_a_program_is_told_what_to_do(ramure_home, spoil):
    spoil(ramure_home)
    with pytest.raises(ramure.HomeUnusable) as caught:
        await nothing()
    assert f"ramure's folder {ramure_home} cannot be used" in str(caught.value)
    assert re.search(r"is a file|belongs to another|may not|is a link to", str(caught.value))
    assert "set RAMURE_HOME to another folder" in str(caught.value)


def ramure_command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ramure", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "command", [["ls"], ["ls", "--all"], ["status"], ["send", "a", "b"], ["logs"], ["stop"], ["gc"]]
)
def test_the_commands_say_the_same(ramure_home, command):
    is_a_file(ramure_home)
    done = ramure_command(*command)
    assert done.returncode == 1
    assert f"ramure's folder {ramure_home} cannot be used: it is a file" in done.stderr


@unusable
def test_doctor_looks_at_it(ramure_home, spoil):
    spoil(ramure_home)
    done = ramure_command("doctor")
    assert done.returncode == 1
    assert "MISS  home: " in done.stdout
    assert "RAMURE_HOME" in done.stdout


def test_doctor_leaves_nothing_there(ramure_home):
    assert "ok    home: " in ramure_command("doctor").stdout
    assert not ramure_home.exists()


async def test_a_log_folder_is_named_by_its_argument(ramure_home, tmp_path):
    (tmp_path / "file").write_text("")

    @agent_process(log_dir=tmp_path / "file" / "logs")
    async def main():
        pass

    with pytest.raises(ramure.HomeUnusable, match=r"log_dir='.*/file/logs' cannot be used: "):
        await main()
    assert list((ramure_home / "runtimes").iterdir()) == []


FULL = """
import asyncio, resource
from ramure import HomeUnusable, agent_process, machine

@agent_process
async def main():
    # As if the disk were full: not one byte more goes into a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        await machine()
    except HomeUnusable as error:
        return str(error)

print(asyncio.run(main()))
"""


def test_a_disk_that_fills_up_is_told(ramure_home):
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60, check=False
    )
    assert "RAMURE_HOME" in done.stdout, done.stderr
    assert list((ramure_home / "runtimes").iterdir()) == []
