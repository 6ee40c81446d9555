"""examples/worker_pool.py: a monitor adds tasks, workers do them, failed ones are done again."""

import re
from collections import Counter

import pytest

from ramure.testing import Fail, ScriptedModel, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.pi]


class Crew:
    """A model that plays the monitor and the workers."""

    def __init__(self, *specs):
        self.specs = specs
        self.tries = Counter()
        self.ended = []

    def __call__(self, request):
        return self.monitor(request) if "You run a pool" in request.system else self.work(request)

    def monitor(self, request):
        said = "\n".join(message.text for message in request.messages if message.role == "user")
        self.ended = re.findall(r"^(t\d+ (?:is done|failed).*)$", said, re.MULTILINE)
        called = [call.name for message in request.messages for call in message.calls]
        if "pool_add_task" not in called:
            return [ToolCall("pool_add_task", spec=spec) for spec in self.specs]
        if "pool_close" in called:
            return "Goodbye."
        if len(self.ended) < len(self.specs):
            return "I wait."
        if "pool_tasks" not in called:
            return ToolCall("pool_tasks")
        return ToolCall("pool_close", report="\n".join(sorted(self.ended)))

    def work(self, request):
        if request.results:
            return "Bye."
        spec = request.text.partition("\n")[0]
        self.tries[spec] += 1
        if "hopeless" in spec:
            return ToolCall("give_up", reason="no way")
        if "flaky" in spec and self.tries[spec] == 1:
            return Fail(401)
        return ToolCall("finish", result=f"{spec}: done")


async def test_flaky_tasks_are_done_again_and_hopeless_ones_told(house):
    crew = Crew("a haiku", "a flaky haiku", "a hopeless haiku")
    async with ScriptedModel(crew) as model:
        ended = await house.run(
            "worker_pool", "Three haikus.", "--tries", 2, "--workers", 2, model=model
        )
    assert ended.code == 0, ended.err + ended.out
    assert crew.tries == {"a haiku": 1, "a flaky haiku": 2, "a hopeless haiku": 2}
    report = ended.out.partition("\n\n")[2].splitlines()
    assert report[0] == "t0001 is done: a haiku: done"
    assert report[1] == "t0002 is done: a flaky haiku: done"
    assert report[2].startswith("t0003 failed 2 times, at last with: ")
    assert "no way" in report[2]
    assert "t0001 added: a haiku" in ended.out
    assert ended.out.count("t0002 failed") == 1
    assert ended.out.count("t0002 started") == 2
    [tasks] = [
        request.results[0].text
        for request in model.requests
        if request.results and request.results[0].name == "pool_tasks"
    ]
    assert "t0003" in tasks
    assert "failed" in tasks
    assert "pool_retry" not in model.requests[0].tool_names  # that is the supervisor's


async def test_a_monitor_that_fails_ends_it(house):
    async with ScriptedModel([Fail(401)]) as model:
        ended = await house.run("worker_pool", "Anything.", model=model)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("failed: agent 'monitor'")
