"""What ``agent()`` refuses, before anything is started."""

import json

import pytest

import ramure
from ramure import agent, agent_process, current_runtime
from ramure.testing import ScriptedHarness


@pytest.fixture(autouse=True)
def no_pi(monkeypatch):
    """What is let through, though it should be refused, fails at once: no pi is got and started."""
    monkeypatch.setenv("RAMURE_PI", "/nowhere/pi")


async def refused(*names, **given):
    """What ``agent()`` says of its arguments; nothing has been started for it."""

    @agent_process
    async def main():
        with pytest.raises(ramure.UsageError) as caught:
            await agent(*names, **given)
        return str(caught.value), (current_runtime().logs / "_runtime.jsonl").read_text()

    text, log = await main()
    assert {json.loads(line)["type"] for line in log.splitlines()} == {"started"}
    return text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"thinkng": "high"}, "there is no argument thinkng= (did you mean thinking=?)"),
        ({"sytem_prompt": "x"}, "(did you mean system_prompt=?)"),
        ({"on_failiure": "restart"}, "(did you mean on_failure=?)"),
        ({"script": ["x"]}, "no argument script=; beyond its own"),
        ({"options": {"thinking": "high"}}, "no argument options="),
    ],
)
async def test_an_option_that_the_harness_does_not_know(ramure_home, given, meant):
    text = await refused("w", **given)
    assert meant in text
    assert text.endswith("the harness 'pi' understands: approve=, flags=, keys=, thinking=")


async def test_a_harness_that_declares_no_options_is_given_all(ramure_home):
    class Undeclared(ScriptedHarness):
        options = None

    @agent_process
    async def main():
        w = await agent("w", harness=Undeclared(["x"]), colour="green")
        return w.settings.options

    assert await main() == {"colour": "green"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"env": {"A": 1}}, "env={'A': …} is of type int, and a variable is a str: use str(…)"),
        ({"env": {"A": None}}, "is of type NoneType"),
        ({"env": {1: "a"}}, "env={1: …} names no variable"),
        ({"env": {"A-B": "a"}}, "names no variable"),
        ({"env": {"A": "a\0b"}}, "holds a NUL"),
        ({"env": ["A=1"]}, "env= is a list, not a mapping"),
        ({"system_prompt": 5}, "system_prompt=5 is not a str"),
        ({"model": ["a"]}, "model=['a'] is not a str"),
        ({"cwd": 5}, "cwd=5 is not a str"),
        ({"machine": "here"}, "machine='here' is no machine"),
        ({"harness": 5}, "harness=5 is neither"),
        ({"harness": ScriptedHarness}, "is neither a harness's name nor a Harness"),
        ({"on_failure": "panic"}, "on_failure='panic'"),
        ({"on_failure": ["fail"]}, "on_failure=['fail']"),
        ({"nudge": 5}, "nudge=5 is neither"),
        ({"start_timeout": None}, "start_timeout=None is not a positive number"),
        ({"start_timeout": 0}, "start_timeout=0 is not"),
        ({"stall_timeout": "5"}, "stall_timeout='5' is not"),
        ({"stall_timeout": float("nan")}, "stall_timeout=nan is not"),
        ({"tool_timeout": 0}, "tool_timeout=0 is not"),
        ({"flags": "--verbose"}, "flags= is a list of strings"),
        ({"flags": ["--model", 5]}, "flags= is a list of strings"),
        ({"flags": ["--api-key", "sesame"]}, "give it in env=, or to machines elsewhere as keys="),
        ({"flags": ["--api-key=sesame"]}, "give it in env=, or to machines elsewhere as keys="),
        ({"image": 5}, "image=5"),
        ({"host": 5}, "host=5"),
    ],
)
async def test_arguments_of_the_wrong_kind(ramure_home, given, said):
    assert said in await refused("w", **given)


@pytest.mark.parametrize("name", [None, 5, "", "a b", ["w"]])
async def test_what_no_agent_can_be_called(ramure_home, name):
    assert f"agent {name!r}: a name is" in await refused(name)


@pytest.mark.parametrize("given", [{"image": 5}, {"host": 5}, {"host": []}])
async def test_a_machine_of_the_wrong_kind(ramure_home, given):
    @agent_process
    async def main():
        with pytest.raises(ramure.PlacementError):
            await ramure.machine(**given)

    await main()


async def test_an_error_shows_no_value_of_the_environment(ramure_home):
    assert "s3cret" not in await refused("w", env={"KEY": b"s3cret"})
    assert "s3cret" not in await refused("w", flags=["--api-key", "s3cret"])
