"""Programs to be ended, and the real pi for them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import pytest

import parts
from ending_programs import HANGS, Program
from ramure.testing import _pi_folder


@pytest.fixture
def pi(monkeypatch, tmp_path):
    """The real pi, with a model that is never asked."""
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    about = {"models": ["m"], "apis": ["openai-completions"], "settings": {}}
    folder = _pi_folder.write(tmp_path / "pi", url="http://127.0.0.1:9", key="k", **about)
    monkeypatch.setenv("PI_CODING_AGENT_DIR", str(folder))


@pytest.fixture
def start(tmp_path):
    """Start a program from its source; whatever is left of it at the end is ended."""
    started = []

    def start(source: str, **how) -> Program:
        started.append(Program(tmp_path, source, **how))
        return started[-1]

    yield start
    for program in started:
        for pid in (*program.processes(), program.process.pid):
            with suppress(ProcessLookupError):
                if program.process.returncode is None or pid != program.process.pid:
                    os.kill(pid, 9)
        program.process.communicate(timeout=HANGS)
        shutil.rmtree(program.short)
