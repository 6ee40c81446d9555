"""``ramure demo``: the quick start, on the real pi with the scripted model."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from ramure.demo import HAIKUS

pytestmark = pytest.mark.pi


def ours(house):
    """The processes that were started with this house's home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAMURE_HOME") == str(house.home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_result_is_the_last_thing_on_stdout(house, pi, until):
    demo = house.ramure("demo", **pi)
    assert demo.code == 0, demo.err
    assert demo.out == f"{HAIKUS}\n"
    assert "a script plays the model" in demo.err
    assert "ramure connect worker --id 1" in demo.err
    until(lambda: not ours(house), "processes are left")
    assert list((house.home / "runtimes").iterdir()) == []


def test_ctrl_c_ends_it_clean(house, pi, until):
    command = [sys.executable, "-m", "ramure", "demo", "--scripted"]
    with subprocess.Popen(
        command, env=house.env | pi, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as demo:
        while "watch it" not in (line := demo.stderr.readline()):
            assert line, "it ended"
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    until(lambda: not ours(house), "processes are left")
    assert list((house.home / "runtimes").iterdir()) == []


def test_a_real_model_that_is_not_there(house, pi, until):
    demo = house.ramure("demo", "--real", **pi)
    assert demo.code == 1
    assert demo.out == ""
    assert "no model" in demo.err
    assert "ramure demo --scripted" in demo.err
    until(lambda: not ours(house), "processes are left")


def test_a_missing_tmux_is_told(house, pi):
    folder = house.folder / "bin"
    folder.mkdir()
    for name in ("sh", "bash", "mkdir", "rm", "pwd", "cat", "node"):
        (folder / name).symlink_to(shutil.which(name))
    demo = house.ramure("demo", "--scripted", PATH=str(folder), **pi)
    assert demo.code == 1
    assert "tmux is not installed" in demo.err
    assert "Traceback" not in demo.err
    assert demo.out == ""


def test_the_haikus_are_haikus():
    poems = HAIKUS.split("\n\n")
    assert len(poems) == 10
    assert all(len(poem.splitlines()) == 3 for poem in poems)
