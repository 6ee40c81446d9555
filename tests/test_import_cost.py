"""``import ramure`` costs little: what is heavy is imported when it is used."""

import sys

import pytest

from checkout import run

HEAVY = {
    *("asyncssh", "docker", "libtmux", "modal", "msgspec"),
    *("pluggy", "psutil", "pydantic", "rich", "typer", "websockets"),
}


def imported(statement, tmp_path):
    code = f"{statement}\nimport sys; print(*sys.modules, sep='\\n')"
    modules = set(run(sys.executable, "-c", code, cwd=tmp_path).split())
    assert "ramure" in modules
    return modules


@pytest.mark.parametrize(
    "statement",
    ["import ramure", "from ramure import agent, agent_process, connect, done, emit, fail, wait"],
)
def test_what_every_program_imports_is_not_heavy(statement, tmp_path):
    assert not imported(statement, tmp_path) & HEAVY


def test_a_process_can_be_defined_without_an_event_loop(tmp_path):
    define = "import ramure\n@ramure.agent_process(timeout=1)\nasync def main(): pass"
    assert "anyio" not in imported(define, tmp_path)
