"""The reference is complete: errors, public names, events, variables; and names nothing else."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import ramure
from doc_examples import ROOT

SOURCES = sorted(ROOT.glob("ramure-*/src/**/*.py"))
SCRIPTS = sorted(p for s in ("sh", "js", "mjs", "ts") for p in ROOT.glob(f"ramure-*/src/**/*.{s}"))
REFERENCE = ROOT / "docs" / "reference"

NO_VARIABLES = {
    "RAMURE_CONTRACT": "a plugin's constant",
    "RAMURE_ERROR": "a constant: the code of an error of the control socket",
    "RAMURE_TEST": "what the contract suites give to a command",
    "RAMURE_TEST_": "the same",
}
LATER = {"done", "failed", "cancelled", "busy", "idle"}
"""Types of events that the source has as values, not as literals where it emits them."""


def page(name):
    return (REFERENCE / name).read_text("utf-8")


def trees() -> Iterator[ast.AST]:
    """All calls of the packages' own Python, without what is for tests."""
    for source in SOURCES:
        if "testing" not in source.parts:
            yield from ast.walk(ast.parse(source.read_text("utf-8")))


# --- errors


def errors_of(module):
    found = vars(import_module(module)).values()
    return {
        e.__name__ for e in found if isinstance(e, type) and issubclass(e, ramure.RamureError)
    } - ({"RamureError"} if module == "ramure.errors" else core_errors())


def core_errors():
    return errors_of("ramure.errors") | {"RamureError"}


ERROR_MODULES = ("ramure.errors", *(f"ramure_{name}.errors" for name in ("docker", "ssh", "modal")))


@pytest.mark.parametrize("module", ERROR_MODULES)
def test_every_error_has_a_cure(module):
    pytest.importorskip(module)
    rows = set(re.findall(r"^\| `(\w+)`", page("errors.md"), re.MULTILINE))
    assert errors_of(module) <= rows


def test_no_error_is_made_up():
    rows = set(re.findall(r"^\| `(\w+)`", page("errors.md"), re.MULTILINE))
    warnings = {"UnobservedFailure", "AbandonedChild"}
    assert rows == warnings.union(*map(errors_of, ERROR_MODULES))


def test_the_tree_of_errors_has_all(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    tree = import_module("site_pages").error_tree()
    assert core_errors() == set(re.findall(r"^[│├└─ ]*(\w+)", tree, re.MULTILINE))


# --- names


def test_every_public_name_is_described():
    described = re.findall(r"^::: (ramure[\w.]*)\.(\w+)$", page("api.md"), re.MULTILINE)
    assert sorted(name for _, name in described) == sorted(ramure.__all__)
    for module, name in described:
        assert getattr(import_module(module), name) is getattr(ramure, name)


# --- events


def literals(node: ast.expr) -> list[str]:
    """The texts that an expression can be."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=other):
            return literals(body) + literals(other)
        case ast.JoinedStr(values=[ast.Constant(value="agent_"), _]):
            return ["agent_busy", "agent_idle"]
    return []


def _emits(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(attr="emit" | "record") | ast.Name(id="Event"):
            return True
    return False


def emitted() -> set[str]:
    """Every type of event that the packages emit, or that the bridge in pi tells."""
    calls = [node for node in trees() if isinstance(node, ast.Call) and node.args]
    by = [call for call in calls if _emits(call.func)]
    told = {text for call in by for text in literals(call.args[0])}
    bridge = "".join(p.read_text("utf-8") for p in SCRIPTS if "bridge" in p.parts)
    return told | set(re.findall(r'\bevent\("(\w+)"', bridge)) | {"left_out"} | LATER


def described_events() -> set[str]:
    first = re.findall(r"^\| (`[^|]*`) \|", page("events.md"), re.MULTILINE)
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def test_every_event_is_described_and_no_other():
    assert len(emitted()) > 50
    assert described_events() == emitted()


def test_what_why_looks_for_is_emitted():
    from ramure.cli.why import TERMINAL, TROUBLE

    assert described_events() >= TERMINAL | TROUBLE


# --- variables


def read_variables() -> set[str]:
    """Variables by their literal names, and all that begin with RAMURE_."""
    texts = [p.read_text("utf-8") for p in (*SOURCES, *SCRIPTS)]
    ours = {name for text in texts for name in re.findall(r"\bRAMURE_[A-Z_]+", text)}
    others = set[str]()
    for node in trees():
        match node:
            case (
                ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ")), args=[name, *_])
                | ast.Subscript(value=ast.Attribute(attr="environ"), slice=name)
            ):
                others.update(literals(name))
    return (ours | others) - set(NO_VARIABLES)


def test_every_variable_is_described():
    described = set(re.findall(r"`([A-Z_]+)(?:=\w+)?`", page("configuration.md")))
    assert {"RAMURE_HOME", "RAMURE_PI", "NO_COLOR", "DOCKER_HOST"} <= read_variables()
    assert read_variables() <= described


def test_no_variable_of_ours_is_made_up():
    described = set(re.findall(r"`(RAMURE_[A-Z_]+)`", page("configuration.md")))
    assert described <= read_variables()
