"""examples/code_review.py: two agents write and send files to each other until one approves."""

import pytest

from ramure.testing import ScriptedModel, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.pi]

BEFORE = "def add(a, b):\n    return a - b\n"
BETTER = "def add(a, b):\n    return a + b  # TODO\n"
AFTER = "def add(a, b):\n    return a + b\n"
NOTHING = "I wait."


def last_heard(request):
    return [m.text for m in request.messages if m.role == "user"][-1]


class Author:
    """Writes the file, sends it, says so; then waits."""

    def __init__(self):
        self.rounds = 0

    def __call__(self, request):
        names = [result.name for result in request.results]
        if "message" in names:
            return NOTHING
        if "send_file" in names:
            return ToolCall("message", receiver="reviewer", message=f"Look: {self.rounds}.")
        if "write" in names:
            return ToolCall("send_file", receiver="reviewer", path="sum.py")
        self.rounds += 1
        if self.rounds == 2:
            assert last_heard(request) == "[From: reviewer] The TODO has to go."
        return ToolCall("write", path="sum.py", content=BETTER if self.rounds == 1 else AFTER)


def reviewer(request):
    if "[From: author]" not in last_heard(request):
        return NOTHING
    names = [result.name for result in request.results]
    if "message" in names or "approve" in names:
        return NOTHING
    if "bash" not in names:
        return ToolCall("bash", command="diff before_sum.py sum.py")
    if "TODO" in request.results[0].text:
        return ToolCall("message", receiver="author", message="The TODO has to go.")
    return ToolCall("approve", comment="Right and simple.")


def crew():
    author = Author()

    def play(request):
        return author(request) if "You change a file" in request.system else reviewer(request)

    return play


async def test_what_was_approved_comes_out(house):
    (house.work / "sum.py").write_text(BEFORE)
    async with ScriptedModel(crew()) as model:
        ended = await house.run(
            "code_review", "sum.py", "It is to add.", "--output", "new.py", model=model
        )
    assert ended.code == 0, ended.err + ended.out
    assert (house.work / "new.py").read_text() == AFTER
    assert (house.work / "sum.py").read_text() == BEFORE
    assert "-    return a - b\n+    return a + b\n" in ended.out
    assert ended.out.endswith("\napproved: Right and simple.\nwritten to new.py\n")


async def test_what_was_rejected_does_not(house):
    (house.work / "sum.py").write_text(BEFORE)

    def play(request):
        return NOTHING if "You change" in request.system else ToolCall("reject", reason="no")

    async with ScriptedModel(play) as model:
        ended = await house.run("code_review", "sum.py", "It is to add.", model=model)
    assert ended.code == 1
    assert "the reviewer rejects it: no" in ended.err
    assert (house.work / "sum.py").read_text() == BEFORE


async def test_a_file_that_is_not_there(house):
    async with ScriptedModel([NOTHING]) as model:
        ended = await house.run("code_review", "nowhere.py", "Anything.", model=model)
    assert ended.code == 2
    assert "nowhere.py" in ended.err
