"""What `uv run` reads in the examples is true, and enough."""

import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

import ramure
from checkout import ROOT, run

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CORE = tomllib.loads((ROOT / "ramure-core/pyproject.toml").read_text())["project"]
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def metadata(example):
    """The script's metadata, as PEP 723 has it."""
    lines = example.read_text().splitlines()
    assert lines.count("# /// script") == 1
    first = lines.index("# /// script") + 1
    block = lines[first : lines.index("# ///", first)]
    assert all(line.startswith("# ") for line in block)
    return tomllib.loads("\n".join(line.removeprefix("# ") for line in block))


@every_example
def test_it_asks_for_what_it_imports(example):
    said = metadata(example)
    assert said["requires-python"] == CORE["requires-python"]
    wanted = {it.name: it for it in map(Requirement, said["dependencies"])}
    source = example.read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported - sys.stdlib_module_names == set(wanted)
    assert ramure.__version__ in wanted["ramure"].specifier
    # Version 0.0.3 is another API.
    assert "0.0.3" not in wanted["ramure"].specifier
    assert wanted["ramure"].extras <= set(CORE["optional-dependencies"])


@every_example
def test_it_has_a_page_that_shows_it(example):
    page = (ROOT / "docs/examples" / f"{example.stem}.md").read_text()
    assert f'--8<-- "examples/{example.name}"' in page
    assert f"examples/{example.stem}.md" in (ROOT / "mkdocs.yml").read_text()
    assert f"({example.stem}.md)" in (ROOT / "docs/examples/index.md").read_text()
    assert f"docs/examples/{example.stem}.md" in (ROOT / "README.md").read_text()


def test_they_run_outside_the_workspace(uv, wheels, environment, tmp_path):
    """With what their metadata asks for, and uv reads there, of the packages as they are built."""
    asked = [word for example in EXAMPLES for word in ("--requirements", example)]
    uv(
        *("pip", "install", "--python", environment, "--find-links", wheels),
        *("--constraint", ROOT / "constraints/locked.txt", *asked),
    )
    for example in EXAMPLES:
        (tmp_path / example.name).write_text(example.read_text())
        said = run(environment, "-I", example.name, "--help", cwd=tmp_path)
        assert said.startswith(f"usage: {example.name}")
