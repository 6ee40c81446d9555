"""What the documents name is there: links, the names in programs, the targets of make."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import ramure
from doc_examples import examples

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("ramure-*/README.md"), *ROOT.glob("docs/**/*.md")]
)
BORROWED = {ROOT / "docs" / "changes.md", ROOT / "docs" / "contributing.md"}
"""Pages of the site that stand elsewhere: scripts/site_pages.py."""

PICTURES = sorted(ROOT.glob("docs/images/*.svg"))
SVG = "{http://www.w3.org/2000/svg}"

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))


@documents
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
        there = (document.parent / target).resolve()
        if "://" not in target and not target.startswith("mailto:"):
            assert there.exists() or there in BORROWED, target


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


@documents
def test_pictures_say_in_words_what_they_show(document):
    for words, _ in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", document.read_text("utf-8")):
        assert len(words) > 10, words


@pytest.mark.parametrize("picture", PICTURES, ids=lambda p: p.name)
def test_a_picture_is_there_for_everybody(picture):
    drawn = ET.parse(picture).getroot()
    assert drawn.get("role") == "img"
    named = (drawn.get("aria-labelledby") or "").split()
    told = [e for e in drawn.iter() if e.tag in (f"{SVG}title", f"{SVG}desc")]
    assert named
    assert named == [e.get("id") for e in told if e.text]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda p: p.name)
def test_a_picture_fetches_nothing_and_tells_nothing_of_where_it_was_taken(picture):
    text = picture.read_text("utf-8")
    assert not re.findall(r"""url\(["']?http|@import|(?:src|href)=["']http""", text)
    assert not re.findall(r"/(?:tmp|root|home/(?!me\b))[/\w]*", text)


def test_every_picture_is_shown():
    shown = "".join(document.read_text("utf-8") for document in DOCUMENTS)
    assert [p.name for p in PICTURES if f"images/{p.name})" not in shown] == []
