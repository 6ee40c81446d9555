"""What a run answers on its control socket, asked within the program itself."""

from dataclasses import dataclass

import anyio
import pytest

import ramure
from ramure.errors import EndpointError, MachineError, NoSuchAgent, NoTerminal, UsageError
from ramure.operations import operations
from ramure.testing.harness import ScriptedHarness
from ramure.values import Usage

PATIENCE = 30


@pytest.fixture(autouse=True)
def _home(ramure_home):
    """Every run has a home of the test's own."""


async def ask(method, **params):
    """Call a method of the current run."""
    process = ramure.current_process()
    while process.parent is not None:
        process = process.parent
    return await operations(process)[method](**params)


async def test_an_agent_that_has_ended_is_no_longer_listed():
    @ramure.agent_process
    async def main():
        worker = await ramure.agent("worker", harness="scripted")
        await ramure.agent("other", harness="scripted")
        await worker.stop()
        with pytest.raises(NoSuchAgent, match="it has: other"):
            await ask("send", agent="worker", message="hello")
        assert [agent["address"] for agent in await ask("agents")] == ["other"]

    await main()


async def test_what_was_used_counts_when_its_agent_has_ended():
    used = Usage(input=10, output=5, cost=0.25)

    @ramure.agent_process
    async def child():
        worker = await ramure.agent("worker", harness=ScriptedHarness([["hello", used]]))
        with anyio.fail_after(PATIENCE):
            await worker.send("go")
            while not worker.usage.cost:
                await anyio.sleep(0.01)
        return (await ask("status"))["usage"]

    @ramure.agent_process
    async def main():
        return await child(), await child(), (await ask("status"))["usage"]

    one, two, after = await main()
    assert one == {"tokens": {"input": 10, "output": 5}, "cost": 0.25}
    assert two == after == {"tokens": {"input": 20, "output": 10}, "cost": 0.5}


async def test_an_exact_address_wins_over_longer_ones():
    @ramure.agent_process
    async def child():
        await ramure.agent("worker", harness="scripted")
        await ramure.wait()

    @ramure.agent_process
    async def main():
        await ramure.agent("worker", harness="scripted")
        handle = ramure.spawn(child)
        with anyio.fail_after(PATIENCE):
            while len(agents := await ask("agents")) < 2:
                await anyio.sleep(0.01)
        assert {(a["address"], a["process"]) for a in agents} == {
            ("worker", "1"),
            ("worker-2", "1.1"),
        }
        assert (await ask("send", agent="worker", message="x")) == {"agent": "worker"}
        assert (await ask("send", agent="worker-", message="x")) == {"agent": "worker-2"}
        with pytest.raises(NoSuchAgent, match="any of: worker, worker-2"):
            await ask("send", agent="work", message="x")
        handle.cancel()

    await main()


async def test_an_endpoint_that_several_have_needs_its_process():
    @ramure.agent_process
    async def pool(number):
        @ramure.expose
        async def which() -> int:
            return number

        await ramure.wait()

    @ramure.agent_process
    async def main():
        handles = [ramure.spawn(pool, n) for n in range(2)]
        for handle in handles:
            await handle.call("which")
        with pytest.raises(EndpointError, match=r"1\.1 \(pool\), 1\.2 \(pool\)"):
            await ask("call", endpoint="which")
        assert await ask("call", endpoint="which", process="1.2") == 1
        handles[0].cancel()
        with pytest.raises(ramure.ProcessCancelled):
            await handles[0]
        assert await ask("call", endpoint="which") == 1

    await main()


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (Point(3), {"x": 3}),
        (float("nan"), "NaN"),
        (b"bytes", "bytes"),
    ],
)
async def test_a_result_becomes_json(value, answer):
    @ramure.agent_process
    async def main():
        @ramure.expose
        async def give():
            return value

        assert await ask("call", endpoint="give") == answer

    await main()


async def test_an_agent_without_a_terminal():
    @ramure.agent_process
    async def main():
        await ramure.agent("worker", harness="scripted")
        for method in ("terminal_info", "terminal"):
            with pytest.raises(NoTerminal, match="worker"):
                await ask(method, agent="worker")

    await main()


async def test_a_shell_needs_to_know_where():
    @ramure.agent_process
    async def main():
        machine = await ramure.machine()
        with pytest.raises(UsageError):
            await ask("shell")
        with pytest.raises(MachineError, match=machine.name):
            await ask("shell", machine="nowhere")

    await main()


class Person:
    """Frames from and to somebody who types one line and then waits for the end."""

    def __init__(self, *typed):
        self.typed = list(typed)
        self.heard = []

    async def send(self, frame):
        self.heard.append(frame)

    async def receive(self):
        if self.typed:
            return self.typed.pop(0)
        return await anyio.sleep_forever()


async def test_nonsense_frames_do_no_harm():
    @ramure.agent_process
    async def main():
        machine = await ramure.machine()
        opened = await ask("shell", machine=machine.name, command=["sh", "-c", "read line; exit 5"])
        person = Person(
            {"data": "not base64!"},
            {"data": 7},
            {"resize": "large"},
            {"resize": [1]},
            {"resize": [-5, 10**9]},
            {"what": "ever"},
            {"data": "Cg=="},
        )
        with anyio.fail_after(PATIENCE):
            await opened.serve(person)
        assert person.heard[-1] == {"exit": 5}

    await main()


async def test_a_person_at_a_terminal_keeps_the_process_from_being_idle():
    @ramure.agent_process(idle_timeout=0.5)
    async def main():
        process = ramure.current_process()
        machine = await ramure.machine()
        opened = await ask("shell", machine=machine.name, command=["sleep", "1000"])

        async def sit():
            with anyio.move_on_after(2):
                await opened.serve(Person())
            left.append(process.alive)

        process.runtime.tasks.start_soon(sit)
        await ramure.wait()

    left = []
    with anyio.fail_after(PATIENCE), pytest.raises(ramure.AgentIdle):
        await main()
    assert left == [True]
