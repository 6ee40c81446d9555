"""examples/optimization.py: proposals are measured, the best is kept, each budget ends it."""

import re

import pytest

from ramure.testing import Fail, ScriptedModel, ToolCall, Usage

pytestmark = [pytest.mark.anyio, pytest.mark.pi]

WRONG = "print(2)"
SHORTER = "n=2\nwhile n<542:\n if all(n%m for m in range(2,n)):print(n)\n n+=1\n"
SHORTEST = "for n in range(2,542):all(n%m for m in range(2,n))and print(n)\n"


def golfer(*programs, usage=None):
    """A model that proposes these, each at the question that it belongs to."""

    def play(request):
        number = int(re.search(r"calling answer_(\d+)", request.text)[1])
        called = [call.name for message in request.messages for call in message.calls]
        if f"answer_{number}" in called:
            return "Thank you."
        program = programs[(number - 1) % len(programs)]
        call = ToolCall(f"answer_{number}", answer={"idea": f"idea {number}", "program": program})
        return [call, *([usage] if usage else [])]

    return play


async def test_the_best_of_all_attempts_is_kept(house):
    async with ScriptedModel(golfer(SHORTER, WRONG, "1/0", SHORTEST, SHORTER)) as model:
        ended = await house.run("optimization", "--attempts", 5, "--output", "best.py", model=model)
    assert ended.code == 0, ended.err
    assert (house.work / "best.py").read_text() == SHORTEST
    assert f"  1  idea 1: {len(SHORTER)} bytes, the best so far" in ended.out
    assert "idea 2: nothing: it printed '2\\n'" in ended.out
    assert "ZeroDivisionError" in ended.out
    assert f"idea 5: {len(SHORTER)} bytes, no better than the best" in ended.out
    assert f"{len(SHORTEST)} bytes, where" in ended.last
    assert "ended after 5 attempts" in ended.last


async def test_the_cost_ends_it(house):
    script = golfer(SHORTER, SHORTEST, usage=Usage(output=1_000_000))  # two dollars
    async with ScriptedModel(script) as model:
        ended = await house.run("optimization", "--dollars", 3, model=model)
    assert ended.code == 0, ended.err
    assert "of $3.0000" in ended.last
    assert "idea 2" in ended.out
    assert "idea 4" not in ended.out


async def test_the_time_ends_it(house):
    async with ScriptedModel(golfer(SHORTER)) as model:
        ended = await house.run("optimization", "--seconds", 0, model=model)
    assert ended.code == 0, ended.err
    assert "ended after 0 seconds" in ended.last
    assert model.requests == []


async def test_a_model_that_refuses(house):
    async with ScriptedModel([Fail(401)]) as model:
        ended = await house.run("optimization", model=model)
    assert ended.code == 1
    assert ended.err.startswith("failed: agent 'golfer'")
    assert "API key" in ended.err
