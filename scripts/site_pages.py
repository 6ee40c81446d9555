"""What of the site stands elsewhere in the checkout: a hook of mkdocs, see mkdocs.yml."""

import ast
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

import command_pages  # noqa: E402 mkdocs runs this file from elsewhere

BORROWED = {"changes.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
ERRORS = ROOT / "ramure-core/src/ramure/errors.py"
TREE = "[[the tree of errors]]"
COMMANDS = "[[all commands and what they take]]"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files of the checkout's root."""
    for page, source in BORROWED.items():
        text = (ROOT / source).read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in what is written in the code."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_pages.reference())
    return markdown.replace(TREE, f"```text\n{error_tree()}\n```")


def error_tree() -> str:
    """The tree that is drawn at the top of ``ramure.errors``."""
    drawn = (ast.get_docstring(ast.parse(ERRORS.read_text("utf-8"))) or "").split("\n\n")[1]
    return "\n".join(line.removeprefix("    ").replace("``", "") for line in drawn.splitlines())
