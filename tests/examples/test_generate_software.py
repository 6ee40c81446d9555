"""examples/generate_software.py: it asks, goes on with the answer, and tests what is written."""

import signal

import anyio
import pytest

from ramure.testing import ScriptedModel, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.pi]

WHAT = "a function that greets"
TEST = "import unittest\nfrom greet import greet\n\nclass Greets(unittest.TestCase):\n"
TEST += "    def test(self):\n        self.assertEqual(greet(), 'Bonjour')\n"


def writes(word):
    return ToolCall("write", path="greet.py", content=f"def greet():\n    return {word!r}\n")


def asks(request):
    return ToolCall("ask_person", question="Which language?")


async def test_the_answer_decides_and_failing_tests_are_sent_back(house):
    def as_answered(request):
        assert request.results[0].text == "French"
        return [writes("Hello"), ToolCall("write", path="test_greet.py", content=TEST)]

    def mended(request):
        assert "'Hello' != 'Bonjour'" in request.results[0].text
        return writes("Bonjour")

    finish = ToolCall("finish", summary="It greets in French.")
    script = [asks, as_answered, finish, mended, finish, "Bye."]
    async with (
        ScriptedModel(script) as model,
        house.running("generate_software", WHAT, model=model) as program,
    ):
        out = b""
        while b"Which language?\n> " not in out:
            out += await program.stdout.receive()
        assert not list((house.work / "generated").iterdir())  # it waits for the person
        await program.stdin.send(b"French\n")
        async for data in program.stdout:
            out += data
        errors = b"".join([data async for data in program.stderr]).decode()
        assert await program.wait() == 0, errors
    assert WHAT in model.requests[0].text
    lines = out.decode().splitlines()
    assert lines.count("> the tests failed (1 of 5 times): back to the writer") == 1
    assert lines[-5:-3] == ["It greets in French.", ""]
    assert lines[-3:] == [
        "generated/greet.py",
        "generated/test_greet.py",
        "written and tested in generated",
    ]
    assert "Bonjour" in (house.work / "generated" / "greet.py").read_text()


async def test_nobody_is_there_to_be_asked(house):
    script = [asks, lambda request: ToolCall("give_up", reason=request.results[0].text)]
    async with ScriptedModel(script) as model:
        ended = await house.run("generate_software", WHAT, "--folder", "new", model=model)
    assert ended.code == 1
    assert "They have no answer" in ended.err
    assert (house.work / "new").is_dir()


async def test_software_without_tests_is_not_finished(house):
    script = [writes("Hello"), *[ToolCall("finish", summary="Done.")] * 5, "Sorry."]
    async with ScriptedModel(script) as model:
        ended = await house.run("generate_software", WHAT, model=model)
    assert ended.code == 1
    assert "the tests still fail" in ended.err


async def test_ctrl_c_while_it_asks(house):
    async with (
        ScriptedModel([asks]) as model,
        house.running("generate_software", WHAT, model=model) as program,
    ):
        out = b""
        while b"> " not in out:
            out += await program.stdout.receive()
        program.send_signal(signal.SIGINT)
        with anyio.fail_after(60):
            assert await program.wait() in (130, -signal.SIGINT)
