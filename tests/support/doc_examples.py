"""The Python examples of a document: what each prints, or why it is not run by itself.

A fence of Python is followed by one of text, which is what it prints, or it comes after a comment:

    <!-- fragment: REASON -->      it shows a part of something, and is only parsed
    <!-- tested by: PATH -->       other tests run it
    <!-- prints nothing -->        it is run, and prints nothing
    <!-- prints something -->      it is run, and what it prints is not worth showing

or it includes a file of the project, which tests of its own run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(
    r"(?:<!-- (?P<mark>fragment|tested by|prints nothing|prints something)"
    r"(?:: (?P<about>[^>]+?))? -->\n+)?"
    r"^(?P<indent> *)```python[^\n]*\n(?P<program>.*?)^ *```$"
    r"(?:\n+ *```text\n(?P<printed>.*?)^ *```$)?",
    re.DOTALL | re.MULTILINE,
)


_INCLUDE = re.compile(r'--8<-- "(?P<path>[^":]+)(:[^"]*)?"\n')


@dataclass(frozen=True)
class Example:
    """One example; ``printed`` is None where the document does not say what it prints."""

    document: Path
    line: int
    program: str
    printed: str | None
    mark: str
    about: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def named(self) -> str:
        """The file's name, where its first line says it; else ""."""
        found = re.match(r"# (\w+\.py)\n", self.program)
        return found[1] if found else ""

    @property
    def file(self) -> str:
        """The file's name; one that says none is called as in the quick start."""
        return self.named or "your_program.py"

    @property
    def runs(self) -> bool:
        """Whether it is run by itself."""
        return self.mark not in ("fragment", "tested by", "included")


def examples(document: Path) -> list[Example]:
    """All Python examples of a document, in order."""
    text = document.read_text("utf-8")
    return [_example(document, text, found) for found in _FENCE.finditer(text)]


def _example(document: Path, text: str, found: re.Match[str]) -> Example:
    program = re.sub(f"^{found['indent']}", "", found["program"], flags=re.MULTILINE)
    mark, about = found["mark"] or "", (found["about"] or "").strip()
    if included := _INCLUDE.fullmatch(program):
        mark, about = "included", included["path"]
        program = (ROOT / about).read_text("utf-8")
    return Example(
        document,
        text.count("\n", 0, found.start("program")),
        program,
        "" if mark == "prints nothing" else found["printed"],
        mark,
        about,
    )


EXAMPLES = [example for document in DOCUMENTS for example in examples(document)]
