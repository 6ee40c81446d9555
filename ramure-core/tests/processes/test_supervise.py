"""Supervision: who is started again, who is stopped with it, and when it is enough."""

import ast
import asyncio
import functools
import re
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ramure import Backoff, Child, agent, agent_process, done, emit, spawn, supervise, wait
from ramure.errors import InvalidName, ProcessCancelled, TooManyRestarts, UsageError
from ramure.testing import ScriptedHarness

pytestmark = pytest.mark.usefixtures("ramure_home")

HANGS = 30.0
AT_ONCE = Backoff(first=0)


class Theatre:
    """Children that do as they are told, and what they did."""

    def __init__(self):
        self.log = []
        self.orders = {}
        self.runs = {}

    def child(self, name, **options):
        self.orders[name] = asyncio.Queue()
        return Child(self.play, (name,), name=name, **options)

    async def play(self, name):
        self.log.append(f"+{name}")
        self.runs[name] = self.runs.get(name, 0) + 1
        emit("plays", self.runs[name])
        try:
            order = await self.orders[name].get()
            if isinstance(order, BaseException):
                raise order
            return order
        finally:
            await anyio.lowlevel.checkpoint()
            self.log.append(f"-{name}")

    def tell(self, name, order):
        self.orders[name].put_nowait(order)

    async def plays(self, name, runs):
        while self.runs.get(name, 0) < runs:
            await anyio.sleep(0.005)


@pytest.fixture
def theatre():
    return Theatre()


def process(function):
    """Run the test's body in a process, and not for ever."""

    @functools.wraps(function)
    async def test(theatre):
        with anyio.fail_after(HANGS):
            await agent_process(function)(theatre)

    return test


@process
async def test_the_results_of_all(theatre):
    handle = supervise(theatre.child("a"), theatre.child("b", restart="temporary"))
    await theatre.plays("b", 1)
    theatre.tell("b", 2)
    theatre.tell("a", 1)
    assert await handle == {"a": 1, "b": 2}
    assert handle.name == "supervisor"


@process
async def test_one_for_one(theatre):
    children = [theatre.child(name) for name in "abc"]
    handle = supervise(*children, backoff=AT_ONCE)
    await theatre.plays("c", 1)
    theatre.tell("b", KeyError("lost"))
    await theatre.plays("b", 2)
    assert theatre.log == ["+a", "+b", "+c", "-b", "+b"]
    for name in "abc":
        theatre.tell(name, name)
    assert await handle == {"a": "a", "b": "b", "c": "c"}


@process
async def test_one_for_all(theatre):
    children = [theatre.child(name) for name in "abc"]
    handle = supervise(*children, strategy="one_for_all", backoff=AT_ONCE)
    await theatre.plays("c", 1)
    theatre.tell("b", KeyError("lost"))
    await theatre.plays("c", 2)
    assert theatre.log == ["+a", "+b", "+c", "-b", "-c", "-a", "+a", "+b", "+c"]
    handle.cancel()


@process
async def test_rest_for_one(theatre):
    children = [theatre.child(name) for name in "abcd"]
    handle = supervise(*children, strategy="rest_for_one", backoff=AT_ONCE)
    await theatre.plays("d", 1)
    theatre.tell("b", KeyError("lost"))
    await theatre.plays("d", 2)
    assert theatre.log == [*("+a", "+b", "+c", "+d"), *("-b", "-d", "-c"), *("+b", "+c", "+d")]
    handle.cancel()


@process
async def test_what_has_ended_for_good_stays_so(theatre):
    kinds = {"a": "transient", "b": "temporary", "c": "temporary", "d": "transient"}
    children = [theatre.child(name, restart=kind) for name, kind in kinds.items()]
    handle = supervise(*children, strategy="one_for_all", backoff=AT_ONCE)
    await theatre.plays("d", 1)
    theatre.tell("a", 1)
    theatre.tell("b", KeyError("no matter"))
    while not {"-a", "-b"} <= set(theatre.log):
        await anyio.sleep(0.005)
    theatre.tell("d", KeyError("lost"))
    await theatre.plays("d", 2)
    assert theatre.runs == {"a": 1, "b": 1, "c": 1, "d": 2}
    theatre.tell("d", 4)
    assert await handle == {"a": 1, "d": 4}


@process
async def test_a_permanent_child_is_started_again_whatever_it_does(theatre):
    handle = supervise(theatre.child("a", restart="permanent"), max_restarts=2, backoff=AT_ONCE)
    theatre.tell("a", 1)
    await theatre.plays("a", 2)
    theatre.tell("a", KeyError("lost"))
    await theatre.plays("a", 3)
    theatre.tell("a", 1)
    with pytest.raises(
        TooManyRestarts, match=r"'a' ended, and 2 restarts within 60 s are the limit"
    ):
        await handle


@process
async def test_too_many_restarts_are_the_supervisors_own_failure(theatre):
    children = [theatre.child(name) for name in "ab"]
    handle = supervise(*children, max_restarts=1, backoff=AT_ONCE)
    error = KeyError("lost")
    theatre.tell("b", error)
    theatre.tell("b", error)
    with pytest.raises(TooManyRestarts, match="'b' failed") as raised:
        await handle
    assert raised.value.__cause__ is error
    assert theatre.log[-1] == "-a"


@process
async def test_restarts_of_long_ago_do_not_count(theatre):
    handle = supervise(theatre.child("a"), max_restarts=1, within=0.05, backoff=AT_ONCE)
    for run in range(1, 4):
        await theatre.plays("a", run)
        await anyio.sleep(0.06)
        theatre.tell("a", KeyError("lost"))
    await theatre.plays("a", 4)
    handle.cancel()


@process
async def test_the_end_comes_in_reverse_order(theatre):
    handle = supervise(*(theatre.child(name) for name in "abc"))
    await theatre.plays("c", 1)
    handle.cancel()
    with pytest.raises(ProcessCancelled):
        await handle
    assert theatre.log == ["+a", "+b", "+c", "-c", "-b", "-a"]


@process
async def test_events_tell_the_story(theatre):
    handle = supervise(theatre.child("a"), backoff=AT_ONCE)
    theatre.tell("a", KeyError("lost"))
    await theatre.plays("a", 2)
    theatre.tell("a", 7)
    await handle
    told = [(event.source, event.type) async for event in handle.events]
    of_a = [kind for source, kind in told if source == "a"]
    assert of_a == ["started", "plays", "failed", "started", "plays", "done"]
    (restarting,) = [event async for event in handle.events if event.type == "restarting"]
    assert restarting.data["child"] == "a"
    assert restarting.data["restarted"] == ["a"]
    assert "KeyError" in restarting.data["error"]


@process
async def test_supervisors_are_supervised(theatre):
    child = theatre.child("a")

    async def inner():
        await supervise(child, max_restarts=0)

    handle = supervise(Child(inner), max_restarts=1, backoff=AT_ONCE)
    theatre.tell("a", KeyError("lost"))
    await theatre.plays("a", 2)
    theatre.tell("a", 1)
    await handle


@process
async def test_a_restarted_child_may_use_its_names_again(theatre):
    async def worker():
        await agent("worker", harness=ScriptedHarness())
        if theatre.runs.setdefault("worker", 0) == 0:
            theatre.runs["worker"] = 1
            raise KeyError("lost")
        done(2)
        return await wait()

    assert await supervise(Child(worker), backoff=AT_ONCE) == {"worker": 2}


@process
async def test_nobody_to_supervise(theatre):
    assert await supervise() == {}


def test_the_backoff_grows_to_its_limit_and_leaves_something_to_chance():
    exact = Backoff(first=1, longest=5, jitter=0)
    assert [exact.delay(n) for n in (0, 1, 2, 3, 1000)] == [1, 2, 4, 5, 5]
    assert all(0.5 <= Backoff(first=1, jitter=0.5).delay(0) <= 1 for _ in range(100))


@pytest.mark.parametrize(
    ("children", "options", "error", "words"),
    [
        ([Child(anyio.sleep, (1,)), Child(anyio.sleep, (1,))], {}, InvalidName, "sleep"),
        ([Child(anyio.sleep, (1,), restart="often")], {}, UsageError, "permanent"),
        ([Child(anyio.sleep)], {}, TypeError, "delay"),
        ([Child(len, ([],))], {}, UsageError, "not an async function"),
        ([], {"strategy": "all"}, UsageError, "one_for_all"),
        ([], {"max_restarts": -1}, UsageError, "max_restarts"),
        ([], {"within": 0}, UsageError, "within"),
    ],
)
async def test_wrong_use_is_told_before_anything_is_started(children, options, error, words):
    @agent_process
    async def main():
        with pytest.raises(error, match=words):
            supervise(*children, **options)

    await main()


def test_what_ends_the_program_is_not_restarted(ramure_home):
    async def leave():
        raise SystemExit(3)

    @agent_process
    async def main():
        await spawn(supervised)

    async def supervised():
        await supervise(Child(leave, restart="permanent"), backoff=AT_ONCE)

    with pytest.raises(SystemExit):
        asyncio.run(main())


def test_the_documents_example(capsys):
    document = Path(__file__).parents[3] / "docs/guides/supervision.md"
    program = re.search(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)[1]
    exec(compile(program, str(document), "exec"), {"__name__": "__main__"})
    results = {"poet": "poem: done at attempt 3", "critic": "review: done"}
    assert ast.literal_eval(capsys.readouterr().out) == results
