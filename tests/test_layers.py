"""The packages keep apart: a plugin knows core and no other plugin."""

import ast

import pytest

from checkout import PROJECTS

PACKAGES = {next((project / "src").iterdir()) for project in PROJECTS}


def imported(module):
    """The top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(PACKAGES), ids=lambda package: package.name)
def test_a_package_imports_no_plugin_but_itself(package):
    plugins = {other.name for other in PACKAGES} - {"ramure", package.name}
    modules = list(package.rglob("*.py"))
    assert modules
    wrong = {str(module): plugins.intersection(imported(module)) for module in modules}
    assert not {module: found for module, found in wrong.items() if found}
