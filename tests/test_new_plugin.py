"""What `ramure plugins new` writes is a plugin: it is built, installed, and passes its tests."""

import json
import sys
import tempfile

import pytest

from checkout import ROOT, run

SUITES = 900
"""Seconds that all of its tests may take."""


@pytest.mark.timeout(SUITES + 300)
def test_a_new_plugin_is_ready(uv, wheels, environment, tmp_path, monkeypatch):
    locked = ("--constraint", ROOT / "constraints/locked.txt", "--find-links", wheels)
    uv("pip", "install", "--python", environment, *locked, "ramure")
    command = environment.with_name("ramure")
    folder = tmp_path / "ramure-cloud"
    run(command, "plugins", "new", "cloud", "--harness", cwd=tmp_path)
    uv(
        *("build", "--offline", "--no-build-isolation", "--wheel", "--python", sys.executable),
        *("--out-dir", tmp_path / "wheels", folder),
    )
    uv(
        *("pip", "install", "--python", environment, *locked),
        *("--find-links", tmp_path / "wheels", "ramure-cloud[test]"),
    )
    with tempfile.TemporaryDirectory(prefix="h-") as home:
        monkeypatch.setenv("RAMURE_HOME", home)
        said = json.loads(run(command, "plugins", "--json", cwd=tmp_path))
        assert said["problems"] == []
        assert said["plugins"][-1] == {
            "name": "cloud",
            "distribution": "ramure-cloud",
            "version": "0.1.0",
            "origin": "ramure_cloud.plugin",
            "registers": {"backends": ["cloud"], "harnesses": ["cloud"], "checks": ["cloud"]},
            "working": True,
        }
        table = run(command, "plugins", cwd=tmp_path)
        assert "cloud   0.1.0" in table
    printed = run(
        *(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--basetemp", tmp_path / "pytest"),
        cwd=folder,
        timeout=SUITES,
    )
    assert " passed" in printed
    assert "failed" not in printed
