"""Every Python example of every document runs as it stands, and prints what stands below it."""

import ast
import os
import subprocess
import sys

import anyio
import pytest

import doc_play
import parts
from doc_examples import EXAMPLES, ROOT
from doc_scripts import SCRIPTS
from ramure.testing import ScriptedModel

HANGS = 120
"""Seconds after which an example that waits has failed."""

FRAGMENTS = 12
"""So many examples may be parts of something that cannot be run here; keep it small."""

RUN = [example for example in EXAMPLES if example.runs]
ON_PI = [example for example in RUN if example.file in ("haiku.py", "estimate.py")]


def test_there_are_examples():
    assert len(RUN) >= 17
    assert len(ON_PI) == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_example_is_run_or_says_why_not(example):
    ast.parse(example.program)
    if example.mark == "included":
        assert example.about.startswith("examples/")
    elif example.mark == "fragment":
        assert example.about
    elif example.mark == "tested by":
        assert example.document.name in (ROOT / example.about).read_text("utf-8")
    else:
        assert example.mark or example.printed is not None, f"{example}: what does it print?"


def test_few_are_fragments():
    fragments = [str(example) for example in EXAMPLES if example.mark == "fragment"]
    assert len(fragments) <= FRAGMENTS, fragments


def write(example, folder):
    """Write the program, and those of the same folder of documents that it may import."""
    beside = [e for e in RUN if e.document.parent == example.document.parent and e.named]
    for one in [*beside, example]:
        (folder / one.file).write_text(one.program, "utf-8")
    return folder / example.file


@pytest.mark.parametrize("example", RUN, ids=str)
def test_it_prints_what_stands_below_it(tmp_path, monkeypatch, example):
    monkeypatch.setenv("RAMURE_HOME", str(tmp_path / "home"))
    program = write(example, tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", doc_play.__file__, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if example.printed is None:
        assert done.stdout
    else:
        assert done.stdout == example.printed


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.pi
@pytest.mark.parametrize("example", ON_PI, ids=str)
async def test_it_does_the_same_on_pi(tmp_path, example):
    program = write(example, tmp_path)
    async with ScriptedModel(SCRIPTS[example.file]) as model:
        env = {**os.environ, **parts.pi_environment(), **model.env()}
        with anyio.fail_after(HANGS):
            done = await anyio.run_process(
                [sys.executable, "-W", "error", program],
                cwd=tmp_path,
                env={**env, "RAMURE_HOME": str(tmp_path / "home")},
                check=False,
            )
    assert (done.returncode, done.stdout.decode()) == (0, example.printed), done.stderr.decode()
