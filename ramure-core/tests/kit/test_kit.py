"""The kit keeps its word: what kit 1 has is there, and the reference says what that is."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import inner_pytest
from ramure.testing import KIT
from ramure.testing._suite import Suite

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "testing-kit.md"
KEPT = Path(__file__).with_name(f"kit_{KIT}.txt")

PUBLIC = ("ramure.testing", "ramure.testing.memory", "ramure.testing.faults")
SUITES = {
    "BackendContract": "backends",
    "HarnessContract": "harnesses",
    "MachineContract": "machines",
    "TransportContract": "transports",
}
FIXTURES = ("anyio_backend", "memory_host", "ramure_home", "scripted_model")


def suite(name):
    return getattr(import_module(f"ramure.testing.{SUITES[name]}"), name)


def abilities(name):
    annotated = {
        key for kind in suite(name).__mro__ for key in vars(kind).get("__annotations__", {})
    }
    return annotated - {*Suite.__annotations__}


def surface():
    """Every public name, ability and test, a line each."""
    for module in PUBLIC:
        yield from (f"{module}.{name}" for name in import_module(module).__all__)
    yield "ramure.testing.bridge.BridgeClient"
    yield "ramure.testing.obedient.obedient"
    yield from (f"ramure.testing.plugin.{name}" for name in FIXTURES)
    for name in SUITES:
        yield from (f"{name}.{ability}" for ability in abilities(name))
        yield from (f"{name}.{test}" for test in dir(suite(name)) if test.startswith("test_"))


def test_nothing_of_this_kit_is_gone():
    kept = {*KEPT.read_text().split()}
    assert kept, f"write the surface of kit {KIT} to {KEPT}"
    assert not kept - {*surface()}, "what is gone or renamed needs the next kit"


def test_the_reference_names_all():
    text = re.sub(r"```.*?```", "", REFERENCE.read_text("utf-8"), flags=re.DOTALL)
    assert f"kit {KIT}" in text
    said = {*re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", text)))}
    names = {line.rpartition(".")[2] for line in surface() if ".test_" not in line}
    assert not names - said


@pytest.mark.parametrize("name", SUITES)
def test_the_reference_has_every_ability_with_its_suite(name):
    sections = re.split(r"^#+ ", REFERENCE.read_text("utf-8"), flags=re.MULTILINE)
    (section,) = [part for part in sections if part.startswith(f"`ramure.testing.{SUITES[name]}.")]
    listed = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert {word for cell in listed for word in re.findall(r"`(\w+)`", cell)} == abilities(name)


def test_the_suites_of_the_reference_run(tmp_path):
    (block,) = re.findall(
        r"```python\n# test_mine.py\n(.*?)```", REFERENCE.read_text("utf-8"), re.DOTALL
    )
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ramure.testing.plugin"]\n')
    (tmp_path / "test_mine.py").write_text(block)
    ran = inner_pytest.run(tmp_path, "test_mine.py")
    assert ran.suites["TestMachine"]["xfailed"] == {"test_as_nobody_known"}, ran.output
    assert not ran.bad("TestMachine") | ran.bad("TestBackend"), ran.output
