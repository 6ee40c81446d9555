"""The command itself: help, version, exit codes, completion, and how light it starts."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import ramure
from ramure.cli import app
from ramure.operations import operations

COMMANDS = (
    *("ls", "status", "send", "connect", "ssh", "call", "logs", "why", "stop"),
    *("plugins", "doctor", "gc", "demo"),
)
HEAVY = {
    *("anyio", "asyncio", "libtmux", "msgspec", "pluggy", "psutil", "pydantic"),
    *("rich", "websockets"),
}


def test_version(house):
    assert house.ramure("--version").out == f"ramure {ramure.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(house, command):
    said = house.ramure(command, "--help")
    assert said.code == 0
    assert f"ramure {command}" in said.out
    assert "\x1b" not in said.out


def test_help_lists_the_commands(house):
    said = house.ramure("--help").out
    assert all(f"  {command} " in said for command in COMMANDS)


def test_the_manual_names_every_command_method_and_exit_code():
    manual = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text("utf-8")
    methods = operations(SimpleNamespace(runtime=None))
    assert all(f"| `ramure {command}" in manual for command in COMMANDS)
    assert all(f"| `{method}` |" in manual for method in methods)
    codes = {app.FAILED, app.USAGE, app.NO_RUN, app.SEVERAL_RUNS, app.NO_AGENT, app.RUN_DIED}
    assert all(f"| {code} |" in manual for code in codes)
    assert {command.__name__ for command in (*app._COMMANDS, *app._GROUPS)} == set(COMMANDS)


def test_wrong_use_is_told_on_stderr(house):
    for arguments in (("nothing",), ("ls", "--nothing"), ("send",)):
        said = house.ramure(*arguments)
        assert (said.code, said.out) == (2, "")
        assert said.err


def test_it_is_installed_as_a_script(house):
    from importlib.metadata import entry_points

    [script] = entry_points(group="console_scripts", name="ramure")
    assert script.value == "ramure.cli.app:main"


def test_it_starts_light(house):
    code = (
        "import sys; sys.argv = ['ramure', 'ls']\n"
        "from ramure.cli.app import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=house.env, capture_output=True, text=True, check=False
    )
    modules = set(done.stdout.split())
    assert "ramure.cli.look" in modules
    assert not modules & HEAVY


def complete(house, words, **more):
    words = ["ramure", *words]
    told = {
        "_RAMURE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    return house.ramure(**told, **more).out.split()


def test_completion_knows_commands_agents_and_runs(shared):
    assert "connect" in complete(shared, ["con"])
    assert complete(shared, ["send", "w"]) == ["worker", "writer"]
    assert complete(shared, ["status", "--id", "1"]) == [shared.live.id]


def test_completion_is_silent_where_nothing_lives(house):
    assert complete(house, ["send", "w"]) == []
