"""``docs/reference/hooks.md`` describes every hook, as it is, with examples that work."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from ramure import hookspecs
from ramure.events import Event
from ramure.plugins import Plugins

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "hooks.md").read_text()
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if name.startswith("ramure_") and hasattr(function, f"{hookspecs.PROJECT}_spec")
}
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_hooks():
    assert len(HOOKS) >= 6


def test_every_hook_has_its_section_and_nothing_else_has():
    headings = re.findall(r"^## (ramure_\w+\(.*\))$", PAGE, re.MULTILINE)
    signatures = [
        f"{name}({', '.join(inspect.signature(function).parameters)})"
        for name, function in HOOKS.items()
    ]
    assert headings == signatures


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_docstring_and_an_example(name):
    assert HOOKS[name].__doc__
    assert any(f"@hookimpl\ndef {name}(" in example for example in EXAMPLES)


@pytest.mark.parametrize("info", [n for n in vars(hookspecs) if n.endswith("Info")])
def test_every_description_is_named(info):
    assert f"`{info}`" in PAGE


def test_the_contract_version_is_the_current_one():
    assert set(re.findall(r"RAMURE_CONTRACT = (\d+)", PAGE)) == {str(hookspecs.CONTRACT)}


def test_the_examples_work_together():
    modules = {}
    for number, example in enumerate(EXAMPLES):
        module = modules[f"example{number}"] = ModuleType(f"example{number}")
        exec(compile(example, f"hooks.md, example {number}", "exec"), vars(module))
    plugins = Plugins.of(**modules)
    assert plugins.problems == []
    assert plugins.backend("cloud").image == "ramure_cloud.image:CloudImage"
    assert plugins.harness("robot")
    assert plugins.transport("tunnel")
    assert plugins.checks()["cloud"]
    plugins.observe(Event("done"))
    (observer,) = (module for module in modules.values() if hasattr(module, "seen"))
    assert observer.seen == {"done": 1}
