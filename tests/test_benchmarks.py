"""The benchmarks still run; what they measure is nobody's business here."""

import os
import sys

import pytest

import docker_engine
from checkout import ROOT, run
from modal_emulator.client import missing
from ssh_servers import find_sshd

BENCHES = sorted((ROOT / "tests/benchmarks").glob("bench_*.py"))
NEW = {"bench_modal", "bench_ssh"}
"""Benches of what 0.0.3 does not have."""


@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.stem)
def test_it_runs_beside_the_former_release(bench, tmp_path):
    if not (ROOT / ".tools/peer/bin/python").exists():
        instead = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        instead("ramure 0.0.3 is not at hand: run make setup")
    if bench.stem == "bench_modal" and (problem := missing()):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)
    if bench.stem == "bench_ssh" and find_sshd() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no sshd")
    if bench.stem == "bench_docker":
        try:
            docker_engine.require()
        except docker_engine.Missing as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    printed = run(sys.executable, bench, "--quick", cwd=tmp_path)
    assert "beside 0.0.3" in printed or bench.stem in NEW
    assert "beside bare" in printed
