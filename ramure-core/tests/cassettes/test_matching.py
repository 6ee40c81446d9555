"""What is the same request and what is another."""

from functools import partial

import anyio
import pytest

from model_client import HANGS
from ramure.testing import CassetteError, Fail, NoMatch, Text, UnusedInteractions

PI = """You are an assistant.

<docs>
- Main documentation: {modules}/node_modules/pi/README.md
</docs>

<cwd>
{cwd}
</cwd>"""


async def test_what_was_answered_once_is_answered_for_ever(studio, say):
    async with studio.record(["One.", "Two."]) as model:
        first = await say(model, "Hi")
        second = await say(model, "Hi", "One.", "And now?")
    for _ in range(2):
        async with studio.play() as model:
            # In another order, as agents that work at the same time ask.
            answers = [await say(model, "Hi", "One.", "And now?"), await say(model, "Hi")]
        assert [answer.text for answer in answers] == ["Two.", "One."]
        assert [answer.events for answer in answers] == [second.events, first.events]
        assert answers[0].headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("It is 2026-11-28T21:50:01Z.", "It is 2031-01-02T03:04:05.678+02:00."),
        ("Saturday, November 28, 2026", "Monday, March 3, 2031"),
        ("-rw-r--r-- 1 me Nov 28 21:50 a.txt", "-rw-r--r-- 1 me Mar  3 11:02 a.txt"),
        ("Ran 2 tests in 0.001s", "Ran 2 tests in 1.317s"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174999"),
        ("see /then/work/notes.txt", "see /now/notes.txt"),
        ("see /tmp/pytest-1/notes.txt", "see /tmp/another/notes.txt"),
        ("on ramure-1ngpky93hv-2", "on ramure-9abcdefghi-2"),
        ("call_aB3xY77zQ1 failed", "call_0kD92mmPz failed"),
    ],
)
async def test_what_changes_from_run_to_run_does_not_count(studio, say, then, now):
    system = PI.format(modules="/then", cwd="/then/work")
    async with studio.record(["Yes."]) as model:
        await say(model, then, system=system)
    async with studio.play() as model:
        answer = await say(model, now, system=PI.format(modules="/usr/lib", cwd="/now"))
    assert answer.text == "Yes."


async def test_what_else_changes_can_be_named(studio, say):
    async with studio.record(["Yes."], ignore=[r"build \d+"]) as model:
        await say(model, "This is build 17.")
    async with studio.play(ignore=[r"build \d+"]) as model:
        assert (await say(model, "This is build 18.")).text == "Yes."


async def test_another_request_fails_with_what_differs(studio, say):
    async with studio.record(["One.", "Two."]) as model:
        await say(model, "A haiku about rebase.", system="Be brief.")
        await say(model, "Something else altogether.")

    async def run():
        async with studio.play() as model:
            answer = await say(model, "A haiku about merge.", system="Be brief.")
            assert answer.status == 400  # which agents do not try again

    with pytest.raises(NoMatch) as raised:
        await run()
    told = str(raised.value)
    assert str(studio.path) in told
    assert "interaction 1 is most like it" in told
    assert "\n-user: A haiku about rebase.\n+user: A haiku about merge.\n" in told
    assert "RAMURE_CASSETTES=record" in told
    assert "Something else" not in told


async def test_other_tools_or_another_system_prompt_are_another_request(studio, say):
    def tool(*parameters):
        schema = {"type": "object", "properties": {name: {} for name in parameters}}
        function = {"name": "finish", "description": "", "parameters": schema}
        return {"type": "function", "function": function}

    async with studio.record(["One."]) as model:
        await say(model, "Hi", system="Be brief.", tools=[tool("summary")])

    async def ask(system, *parameters):
        async with studio.play() as model:
            await say(model, "Hi", system=system, tools=[tool(*parameters)])

    with pytest.raises(NoMatch, match=r"-tool finish\(summary\)\n\+tool finish\(result, summary\)"):
        await ask("Be brief.", "summary", "result")
    with pytest.raises(NoMatch, match=r"-system: Be brief\.\n\+system: Be kind\."):
        await ask("Be kind.", "summary")
    async with studio.play(match=["messages"]) as model:
        assert (await say(model, "Hi", system="Be kind.")).text == "One."


async def test_a_program_that_fails_of_it_is_told_why(studio, say):
    async with studio.record(["One."]) as model:
        await say(model, "Hi")

    async def run():
        async with studio.play() as model:
            await say(model, "Ho")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await run()
    assert "+user: Ho" in raised.value.__notes__[0]


async def test_asking_more_often_than_recorded(studio, say):
    async with studio.record([Fail(500), "Two."]) as model:
        assert (await say(model, "Hi")).status == 500
        assert (await say(model, "Hi")).text == "Two."

    async def run():
        async with studio.play() as model:
            assert (await say(model, "Hi")).status == 500
            assert (await say(model, "Hi")).text == "Two."
            await say(model, "Hi")

    with pytest.raises(NoMatch, match=r"asked before \(interaction 1, 2\)"):
        await run()


async def test_what_nobody_asks_for_is_told(studio, say):
    async with studio.record(["One.", "Two."]) as model:
        await say(model, "Hi")
        await say(model, "Ho")

    async def run():
        async with studio.play() as model:
            await say(model, "Ho")
            assert model.unused == [1]

    with pytest.warns(UnusedInteractions, match="1 of 2 interactions: 1"):
        await run()


async def test_the_file_can_be_read(studio, say):
    async with studio.record([Text("One.\nTwo."), "Three."]) as model:
        await say(model, "Hi,\nyou.", system="Be brief.")
        await say(model, "Hi,\nyou.", "One.\nTwo.", "And?", system="Be brief.")
    content = studio.content
    assert (content["provider"], content["api"]) == ("acme", "openai-completions")
    assert content["systems"] == [["Be brief."]]
    first, second = content["interactions"]
    assert first["messages"] == [["user: Hi,", "you."]]
    assert second["after"] == 1
    assert second["messages"] == [["assistant: One.", "Two."], ["user: And?"]]
    assert first["answer"]["ending"] == "complete"
    assert first["answer"]["body"][-3] == "data: [DONE]"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cassette": 99}'])
async def test_a_file_that_is_no_cassette(studio, text):
    studio.path.parent.mkdir()
    studio.path.write_text(text)
    with pytest.raises(CassetteError, match="is no cassette"):
        async with studio.play():
            pass


async def test_an_afterthought_is_left_to_chance(studio, say):
    """A program that has what it wanted stops its agent, which may have asked once more or not."""
    done = ("Hi", "One.")
    async with studio.record(["One.", "Two."]) as model:
        await say(model, "Hi")
        await say(model, *done, results=["Recorded."])
    async with studio.play() as model:  # nothing is told
        await say(model, "Hi")
        assert model.unused == [2]

    async def ask_no_more():
        async with studio.play():
            pass

    with pytest.warns(UnusedInteractions, match="2 of 2 interactions: 1, 2"):
        await ask_no_more()


async def test_where_the_recording_ends_an_agent_may_leave(studio, say, monkeypatch):
    async with studio.record(["One."]) as model:
        await say(model, "Hi")
    async with studio.play() as model, anyio.create_task_group() as tasks:
        await say(model, "Hi")
        tasks.start_soon(partial(say, model, "Hi", "One.", results=["Recorded."]))
        with anyio.fail_after(HANGS):
            while len(model.requests) < 2:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert model.errors == []

    async def wait_for_more():
        async with studio.play() as model:
            await say(model, "Hi")
            await say(model, "Hi", "One.", results=["Recorded."])

    monkeypatch.setattr("ramure.testing.cassette.BEYOND", 0.1)
    with pytest.raises(NoMatch, match="request 2: every interaction has been used"):
        await wait_for_more()
