"""What programs and plugins are given is described: every option, method, field and hook."""

import dataclasses
import inspect
import re

import pytest

import ramure
from contract_surface import IMPLEMENTED, chosen, hooks
from doc_examples import ROOT
from ramure import hookspecs, values
from ramure.plugins import Plugins

HOOKS = (ROOT / "docs/reference/hooks.md").read_text("utf-8")
FUNCTIONS = [name for name in ramure.__all__ if inspect.isfunction(getattr(ramure, name))]
CLASSES = [name for name in ramure.__all__ if inspect.isclass(getattr(ramure, name))]
IMAGES = sorted(Plugins.load().image_classes())
CONTRACTS = dict(chosen(IMPLEMENTED))
INFOS = [name for name in vars(hookspecs) if name.endswith("Info")]
VALUES = [name for name, kind in vars(values).items() if dataclasses.is_dataclass(kind)]


def named(text, *names):
    """The names that a docstring does not say anything of."""
    return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text or "")]


def listed(kind, *names):
    """The names that are not in a class's list of attributes."""
    described = inspect.getdoc(kind).split("Attributes:")[-1]
    rows = re.findall(r"^ *([a-z_][\w, ]*): ", described, re.MULTILINE)
    told = {name.strip() for row in rows for name in row.split(",")}
    return [name for name in names if name not in told]


def public(kind):
    """A class's own public methods, with what each is given."""
    for name, value in vars(kind).items():
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function) and not name.startswith("_"):
            yield name, function


def own(function):
    given = inspect.signature(function).parameters.values()
    return [p.name for p in given if p.name not in ("self", "cls") and p.kind not in (2, 4)]


def options(function):
    given = inspect.signature(function).parameters
    return [
        n for n in own(function) if given[n].kind == 3 or given[n].default is not given[n].empty
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option_of_a_function_is_described(name):
    function = getattr(ramure, name)
    assert named(inspect.getdoc(function), *own(function)) == []


def test_every_option_of_a_process_is_described():
    from ramure.processes.decorator import _options

    assert named(inspect.getdoc(ramure.agent_process), *own(_options)) == []


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_is_described(name):
    kind = getattr(ramure, name)
    assert inspect.getdoc(kind)
    for method, function in public(kind):
        assert inspect.getdoc(getattr(kind, method)), f"{name}.{method}"
        assert named(inspect.getdoc(kind) + function.__doc__, *options(function)) == [], method


@pytest.mark.parametrize("name", IMAGES)
def test_every_field_of_an_image_is_described(name):
    image = Plugins.load().image_class(name)
    fields = [field.name for field in dataclasses.fields(image)]
    assert listed(image, *fields) == []


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_part_of_a_contract_is_described(name):
    kind = CONTRACTS[name]
    assert inspect.getdoc(kind)
    for method, function in public(kind):
        assert function.__doc__, f"{name}.{method}"


@pytest.mark.parametrize("name", [n for n in CONTRACTS if CONTRACTS[n].__annotations__])
def test_every_attribute_of_a_contract_is_described(name):
    kind = CONTRACTS[name]
    source = inspect.getsource(kind)
    for attribute in kind.__annotations__:
        followed = re.search(rf'^    {attribute}: [^\n]*\n    """', source, re.MULTILINE)
        assert followed or not named(inspect.getdoc(kind), attribute), f"{name}.{attribute}"


@pytest.mark.parametrize("name", INFOS)
def test_every_field_of_a_hooks_result_is_described(name):
    kind = getattr(hookspecs, name)
    assert listed(kind, *(field.name for field in dataclasses.fields(kind))) == []


@pytest.mark.parametrize("name", hooks())
def test_every_hook_says_what_it_returns_and_when_it_is_called(name):
    section = HOOKS.split(f"## {name}(")[1].split("\n## ")[0]
    assert re.search(r"\b[Rr]eturns\b", section)
    info = hooks()[name].__annotations__["return"]
    for kind in INFOS:
        if kind in str(info):
            assert f"`{kind}`" in section


@pytest.mark.parametrize("name", VALUES)
def test_every_value_is_described(name):
    kind = getattr(values, name)
    text = inspect.getdoc(kind)
    assert not text.startswith(f"{name}("), f"{name} has no docstring of its own"
