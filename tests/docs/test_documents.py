"""What the documents name is there: links, the names in programs, the targets of make."""

import ast
import re
from pathlib import Path

import pytest

import ramure
from doc_examples import examples

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("ramure-*/README.md"), *ROOT.glob("docs/**/*.md")]
)
BORROWED = {"changes.md", "contributing.md"}
"""Pages of the site that stand elsewhere: scripts/site_pages.py."""

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))


@documents
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
        borrowed = document.parent == ROOT / "docs" and target in BORROWED
        if "://" not in target and not target.startswith("mailto:") and not borrowed:
            assert (document.parent / target).exists(), target


@documents
def test_programs_use_what_there_is(document):
    for example in examples(document):
        for node in ast.walk(ast.parse(example.program)):
            if isinstance(node, ast.ImportFrom) and node.module == "ramure":
                for name in node.names:
                    assert hasattr(ramure, name.name), name.name


@documents
def test_make_has_the_targets(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert targets.issuperset(re.findall(r"`make ([a-z]+)", document.read_text("utf-8")))
