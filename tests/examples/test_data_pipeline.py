"""examples/data_pipeline.py: every letter is read, some at a time, again where it failed."""

import json
import re
from collections import Counter

import pytest

from ramure.testing import Fail, ScriptedModel, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.pi]

LETTERS = {
    "a.txt": "The kettle is broken. I want my money back.",
    "b.txt": "FLAKY: where is my parcel?",
    "c.txt": "Thank you for the quick help.",
}


class Reader:
    """A model that reads letters, and counts how many are read at once."""

    def __init__(self):
        self.tries = Counter()

    def __call__(self, request):
        if request.results and request.results[0].text == "Answer taken.":
            return "Bye."
        letter = re.search(r"<letter>\n(.*)\n</letter>", request.text, re.DOTALL)[1]
        if not request.results:
            self.tries[letter] += 1
        if "HOPELESS" in letter or ("FLAKY" in letter and self.tries[letter] == 1):
            return Fail(401)
        urgency = "extreme" if "kettle" in letter and not request.results else "high"
        answer = {"about": letter[:20], "urgency": urgency, "next_step": "Answer it."}
        return ToolCall("answer_1", answer=answer)


def write(house, letters):
    folder = house.work / "letters"
    folder.mkdir()
    for name, text in letters.items():
        (folder / name).write_text(text)


async def test_all_are_read_in_the_end(house):
    write(house, LETTERS)
    reader = Reader()
    async with ScriptedModel(reader) as model:
        ended = await house.run("data_pipeline", "letters", "--at-once", 2, model=model)
    assert ended.code == 0, ended.err + ended.out
    assert ended.last.startswith("3 of 3 read, 1 retries, $0.0")
    assert re.search(r"b.txt: try 1 failed: agent 'reader.*API key", ended.out)
    records = json.loads((house.work / "records.json").read_text())
    assert [it["file"] for it in records] == sorted(LETTERS)
    assert [it["tries"] for it in records] == [1, 2, 1]
    # An answer of the wrong shape was mended by the agent itself.
    assert records[0]["record"] == {
        "about": "The kettle is broken",
        "urgency": "high",
        "next_step": "Answer it.",
    }
    assert records[0]["cost"] > 0


async def test_a_letter_that_nobody_can_read_is_told(house):
    write(house, {"a.txt": "HOPELESS", "c.txt": LETTERS["c.txt"]})
    async with ScriptedModel(Reader()) as model:
        ended = await house.run(
            "data_pipeline", "letters", "--tries", 2, "--output", "out.json", model=model
        )
    assert ended.code == 1
    assert "\nunread: a.txt (agent 'reader" in ended.out
    assert ended.last.startswith("1 of 2 read, 1 retries")
    unread, read = json.loads((house.work / "out.json").read_text())
    assert (unread["record"], unread["tries"]) == (None, 2)
    assert read["record"]["about"].startswith("Thank you")


async def test_a_folder_without_letters(house):
    async with ScriptedModel(Reader()) as model:
        ended = await house.run("data_pipeline", ".", model=model)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "failed: there are no letters (*.txt) in .\n"
