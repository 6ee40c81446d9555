"""What docs/guides/testing.md says of cassettes is true: its test records, then needs nobody."""

import os
import re
import sys
from pathlib import Path

import anyio
import pytest

import parts
from ramure.testing import ScriptedModel, ToolCall

pytestmark = pytest.mark.pi

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "guides" / "testing.md"
HANGS = 120
"""Seconds after which a test that waits has failed."""


async def test_the_recorded_test(tmp_path):
    for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        if file := re.match(r"# (program|test_recorded)\.py\n", block):
            (tmp_path / f"{file[1]}.py").write_text(block)

    async def run(**env):
        command = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "test_recorded.py",
        ]
        home = {"RAMURE_HOME": str(tmp_path / "home")}
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [sys.executable, *command],
                cwd=tmp_path,
                env=os.environ | parts.pi_environment() | home | env,
                check=False,
            )
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    code, said = await run()
    assert code == 1
    assert "there is no cassette" in said
    script = [ToolCall("finish", summary="It is 42."), "Goodbye."]
    async with ScriptedModel(script) as real:
        persons = str(real.pi_folder(tmp_path / "pi"))
        code, said = await run(RAMURE_CASSETTES="record", PI_CODING_AGENT_DIR=persons)
        assert code == 0, said
        assert real.requests
    cassette = tmp_path / "cassettes" / "six_times_seven.json"
    assert real.key not in cassette.read_text()
    code, said = await run()
    assert code == 0, said
    (tmp_path / "program.py").write_text(
        (tmp_path / "program.py").read_text().replace("When done,", "When you are done,")
    )
    code, said = await run()
    assert code == 1
    assert "-When done, call finish(summary)." in said
    assert "+When you are done, call finish(summary)." in said
