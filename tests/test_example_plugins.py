"""Example plugins as their users get them: built, installed, tested there, used."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import parts
from checkout import ROOT, run

PLUGINS = sorted(path.parent for path in ROOT.glob("examples/plugins/*/pyproject.toml"))
SUITES = 900
"""Seconds that all of a plugin's own tests may take."""

pytestmark = [
    pytest.mark.timeout(SUITES + 300),
    pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name),
]


@pytest.fixture(scope="module")
def installed(uv, wheels, tmp_path_factory):
    """An environment with ramure's wheel and this plugin's, far from the checkout: its Python."""
    made = {}

    def install(plugin):
        if plugin not in made:
            folder = tmp_path_factory.mktemp(plugin.name)
            uv(
                *("build", "--offline", "--no-build-isolation", "--python", sys.executable),
                *("--out-dir", folder / "wheels", plugin),
            )
            python = folder / "environment/bin/python"
            uv("venv", "--python", sys.executable, folder / "environment")
            uv(
                *("pip", "install", "--python", python, "--find-links", wheels),
                *("--constraint", ROOT / "constraints/locked.txt"),
                *("--find-links", folder / "wheels", f"{plugin.name}[test]"),
            )
            for name in ("tests", "example.py", "pyproject.toml"):
                copy = shutil.copytree if (plugin / name).is_dir() else shutil.copy
                copy(plugin / name, folder / name)
            made[plugin] = python
        return made[plugin]

    return install


@pytest.fixture
def home(monkeypatch):
    """A home with a short path."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        monkeypatch.setenv("RAMURE_HOME", folder)
        yield Path(folder)


def needs_bubblewrap():
    if shutil.which("bwrap") is None:
        parts.lacking("there is no bwrap: run scripts/system-packages tests")


def test_it_belongs_to_nobody_here(plugin):
    assert plugin.name not in (ROOT / "pyproject.toml").read_text("utf-8")
    private = [
        f"{path.name}: {line}"
        for path in plugin.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if "import" in line and ("ramure._" in line or "._" in line.partition("import")[0])
    ]
    assert private == []


def test_it_is_listed_with_its_version_and_its_origin(plugin, installed, home):
    said = json.loads(run(installed(plugin), "-m", "ramure", "plugins", "--json", cwd=home))
    assert said["problems"] == []
    (found,) = [each for each in said["plugins"] if each["distribution"] == plugin.name]
    module = plugin.name.replace("-", "_")
    assert (found["version"], found["origin"]) == ("0.1.0", f"{module}.plugin")
    assert found["working"]
    table = run(installed(plugin), "-m", "ramure", "plugins", cwd=home)
    assert f"{module}.plugin" in table


def test_a_program_runs_with_it(plugin, installed, home):
    needs_bubblewrap()
    python = installed(plugin)
    printed = run(python, "-W", "error", python.parents[2] / "example.py", cwd=home)
    assert printed == "[3, 2]\n"
    doctor = json.loads(run(python, "-m", "ramure", "doctor", "bubblewrap", "--json", cwd=home))
    assert [finding["state"] for finding in doctor] == ["ok"]


def test_its_own_tests_pass(plugin, installed, tmp_path):
    needs_bubblewrap()
    python = installed(plugin)
    printed = run(
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--basetemp", tmp_path / "pytest"),
        cwd=python.parents[2],
        timeout=SUITES,
    )
    assert " passed" in printed
