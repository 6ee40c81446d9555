"""What agents say in the programs of the documentation, by the programs' files.

A program that names a harness of its own needs nothing here.
"""

from collections.abc import Iterator

from ramure.testing import ToolCall
from ramure.testing.request import Request
from ramure.testing.script import Scripts, Turn

HAIKU = """\
Old hashes falling,
new ones budding in their place:
the same leaf, renamed."""


def _finish(request: Request) -> Turn:
    """The quick start's haiku, by whatever name its argument has."""
    if request.results:
        return "Goodbye."
    finish = next(tool for tool in request.tools if tool.name == "finish")
    return ToolCall("finish", **dict.fromkeys(finish.parameters["properties"], HAIKU))


ESTIMATE = [
    ToolCall("count_lines", module="lexer"),
    lambda request: _after_error(request, ToolCall("count_lines", module="parser")),
    ToolCall("count_lines", module="printer"),
    ToolCall("answer_1", answer={"days": 2.5, "risks": ["the parser drops comments"]}),
    "Done.",
]


def _after_error(request: Request, turn: Turn) -> Turn:
    assert "module" in request.results[0].text, request.results  # which argument is wrong
    return turn


DRAFTS = {
    "tea": ("Tea is hot water.", "Tea is patience, poured."),
    "rain": ("Rain is wet.", "Rain is the roof's only song."),
}


def _writer(request: Request) -> Turn:
    first, second = _drafts(request)
    if request.results:
        return "Sent."
    draft = second if request.text.startswith("[From: reviewer") else first
    return ToolCall("message", receiver="reviewer", message=draft)


def _reviewer(request: Request) -> Turn:
    first, _ = _drafts(request)
    if request.results:
        return "Noted."
    if request.text.endswith(first):
        return ToolCall("message", receiver="writer", message="True, but not a line to remember.")
    return ToolCall("approve", text=request.text.partition("] ")[2])


def _drafts(request: Request) -> tuple[str, str]:
    said = " ".join(message.text for message in request.messages).lower()
    return DRAFTS["tea" if "tea" in said else "rain"]


def _riddle() -> Scripts:
    answers = iter(["a sleeping dog", "a river"])
    return lambda request: "Good." if request.results else ToolCall("answer", text=next(answers))


POEMS = {
    "tea": ["Steam, a cup, a thought."],
    "rain": ["Gutters full of song."],
    "a haiku": ["Steam, a cup, a thought."],
    "a sonnet": [None, "Shall I compare thee to a rebased branch?"],
}
"""By what the task names; None gives up."""


def _workers() -> Scripts:
    poems: dict[str, Iterator[str | None]] = {subject: iter(p) for subject, p in POEMS.items()}

    def work(request: Request) -> Turn:
        if request.results:
            return "Goodbye."
        poem = next(next(p for subject, p in poems.items() if subject in request.text))
        if poem is None:
            return ToolCall("give_up", reason="fourteen lines are too many")
        return ToolCall("finish", summary=poem)

    return work


def _pool() -> Scripts:
    tasks = [
        ToolCall("pool_add_task", spec=f"One line on {subject}.") for subject in ("tea", "rain")
    ]
    return {"monitor": [tasks[0], tasks[1], "Both are being written."], "*": _workers()}


SCRIPTS: dict[str, Scripts] = {
    "your_program.py": _finish,
    "haiku.py": _finish,
    "estimate.py": ESTIMATE,
    "review.py": {"writer": _writer, "reviewer": _reviewer},
    "retry.py": _riddle(),
    "pool.py": _pool(),
    "supervisor.py": _workers(),
    "supervised.py": _workers(),
}
