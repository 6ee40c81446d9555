"""A plugin that was written for the contracts as they were works with them as they are."""

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import contract_surface
from contract_surface import ADVICE, breaks, describe
from ramure.hookspecs import CONTRACT

FOLDER = Path(__file__).parent
HANGS = 120
"""Seconds after which a program has failed."""


# --- what is recorded


def test_there_is_a_record_of_each_version():
    versions = {int(path.stem) for path in FOLDER.glob("*.json")}
    assert versions == set(range(1, CONTRACT + 1)), f"run scripts/contracts: {versions}"


def test_nothing_breaks_what_plugins_rely_on():
    recorded = json.loads((FOLDER / f"{CONTRACT}.json").read_text("utf-8"))
    found = breaks(recorded, describe())
    assert not found, f"{ADVICE}\n" + "\n".join(found)


def test_the_advice_names_the_cure():
    assert "raise CONTRACT" in ADVICE


# --- the comparison has teeth


MACHINE = "ramure.machine.Machine"
HARNESS = "ramure.harness.Harness"


def gone(kind, name):
    return lambda now: now[kind].pop(name)


def member(name, **new):
    return lambda now: now["implemented"][MACHINE]["members"].update({name: new})


def attribute(name, **new):
    return lambda now: now["implemented"][HARNESS]["attributes"].update({name: new})


def parameter(method, name, *, default, kind="keyword_only"):
    def change(now):
        parameters = now["implemented"][MACHINE]["members"][method]["parameters"]
        parameters[:] = [p for p in parameters if p["name"] != name]
        parameters.append({"name": name, "kind": kind, "default": default})

    return change


def without(method, name):
    def change(now):
        parameters = now["implemented"][MACHINE]["members"][method]["parameters"]
        parameters[:] = [p for p in parameters if p["name"] != name]

    return change


def value(name, *, default, at=None):
    def change(now):
        fields = now["values"]["ramure.values.AgentSpec"]["fields"]
        fields.insert(len(fields) if at is None else at, {"name": name, "default": default})

    return change


def fewer(name):
    def change(now):
        fields = now["values"]["ramure.values.AgentSpec"]["fields"]
        fields[:] = [field for field in fields if field["name"] != name]

    return change


def no_argument(now):
    now["hooks"]["ramure_observe"].clear()


def property_instead(now):
    del now["values"]["ramure.values.ExecResult"]["members"]["ok"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (gone("hooks", "ramure_observe"), "ramure_observe is gone"),
        (no_argument, "ramure_observe: the argument event is gone"),
        (gone("values", "ramure.values.Ending"), "ramure.values.Ending is gone"),
        (fewer("lease"), "the field lease is gone"),
        (value("colour", default=False), "the field colour is new, and has no default"),
        (value("colour", default=True, at=0), "its fields have another order"),
        (property_instead, "ramure.values.ExecResult: the member ok is gone"),
        (gone("errors", "MachineGone"), "MachineGone is gone"),
        (gone("functions", "ramure.trees.copy"), "ramure.trees.copy is gone"),
        (gone("used", "ramure.backends.local.LocalMachine"), "LocalMachine is gone"),
        (member("pause", kind="async", abstract=True, parameters=[]), "pause: is abstract now"),
        (member("exec", kind="async", abstract=True, parameters=[]), "exec: is abstract now"),
        (member("exec", kind="sync", abstract=False, parameters=[]), "was async, and is sync"),
        (without("exec", "timeout"), "Machine.exec: the argument timeout is gone"),
        (parameter("exec", "shell", default=False), "the argument shell is new, and has no def"),
        (parameter("exec", "cwd", default=False), "the argument cwd has no default any more"),
        (parameter("read_file", "path", default=False), "path was positional or keyword, and is"),
        (parameter("open_process", "tty", default=True), "no plugin takes it"),
        (attribute("colour", default=False), "Harness.colour: is new, has no value"),
        (attribute("tools", default=False), "Harness.tools: has no value any more"),
    ],
)
def test_what_breaks_plugins_is_found(change, said):
    before = describe()
    after = copy.deepcopy(before)
    change(after)
    assert any(said in each for each in breaks(before, after)), breaks(before, after)


@pytest.mark.parametrize(
    "change",
    [
        lambda now: now["hooks"].update(ramure_new=[]),
        lambda now: now["hooks"]["ramure_observe"].append({"name": "run"}),
        value("colour", default=True),
        member("pause", kind="async", abstract=False, parameters=[]),
        parameter("exec", "shell", default=True),
        attribute("colour", default=True),
    ],
)
def test_what_is_added_compatibly_breaks_nothing(change):
    before = describe()
    after = copy.deepcopy(before)
    change(after)
    assert breaks(before, after) == []


def test_a_record_is_not_overwritten_by_what_breaks_it(tmp_path):
    surface = describe()
    surface["hooks"]["ramure_once"] = []
    record = tmp_path / f"{CONTRACT}.json"
    record.write_text(contract_surface.written(surface))
    with pytest.raises(SystemExit, match=r"(?s)stays as it is.*ramure_once is gone"):
        contract_surface.main(tmp_path)
    assert "ramure_once" in record.read_text()


# --- a plugin of each version

FROZEN = {1: "cc3ec780b50c022d"}
"""What the files of a plugin hash to: they are never changed, whatever becomes of ramure."""


def digest(folder):
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]


@pytest.fixture(params=sorted(FROZEN))
def version(request):
    return request.param


@pytest.fixture
def python(version, tmp_path):
    """Run Python where the plugin of a version is installed."""
    with tempfile.TemporaryDirectory(prefix="h-") as home:
        (tmp_path / "machines").mkdir()
        env = {
            **os.environ,
            "PYTHONPATH": str(FOLDER / f"v{version}"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAMURE_HOME": home,
            "FROZEN_FOLDER": str(tmp_path / "machines"),
            "FROZEN_EVENTS": str(tmp_path / "events"),
        }

        def run(*arguments):
            return subprocess.run(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=HANGS,
                check=False,
                env=env,
            )

        yield run
        assert [*(tmp_path / "machines").iterdir()] == []


def current(version):
    if version != CONTRACT:
        pytest.skip(f"a plugin for version {version} is refused by version {CONTRACT}")


def test_the_plugin_is_as_it_was(version):
    assert digest(FOLDER / f"v{version}") == FROZEN[version]


def test_there_is_a_plugin_of_this_version():
    assert CONTRACT in FROZEN


def test_a_program_runs_with_it(version, python, tmp_path):
    current(version)
    done = python("-W", "error", FOLDER / f"v{version}" / "program.py")
    assert (done.returncode, done.stdout) == (0, "hello goodbye potato\n"), done.stderr
    assert {"started", "done"} <= set((tmp_path / "events").read_text().split())


def test_its_command_and_its_check_run(version, python):
    current(version)
    assert python("-m", "ramure", "frozen").stdout == "it works\n"
    (finding,) = json.loads(python("-m", "ramure", "doctor", "frozen", "--json").stdout)
    assert finding["what"] == "nothing is wrong"


def test_it_is_listed_or_refused_with_the_cure(version, python):
    said = json.loads(python("-m", "ramure", "plugins", "--json").stdout)
    (plugin,) = [each for each in said["plugins"] if each["name"] == "frozen"]
    assert (plugin["distribution"], plugin["version"]) == ("ramure-frozen", "1.0")
    assert plugin["working"] == (version == CONTRACT)
    problems = [each for each in said["problems"] if each["plugin"] == "ramure-frozen"]
    if version == CONTRACT:
        assert problems == []
        assert set(plugin["registers"]) == {
            "backends",
            "harnesses",
            "transports",
            "checks",
            "hooks",
        }
    else:
        assert "pip install --upgrade ramure-frozen" in problems[0]["cure"]
