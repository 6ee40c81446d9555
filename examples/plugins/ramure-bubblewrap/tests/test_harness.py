"""The clerk keeps the contract of harnesses; and what is its alone."""

import anyio
import pytest

from ramure.backends.local import LocalBackend, LocalImage
from ramure.run.protocol import Call, Result
from ramure.testing.harnesses import HarnessContract
from ramure.values import Host
from ramure_bubblewrap.harness import ClerkHarness

pytestmark = pytest.mark.anyio


# --8<-- [start:contract]
class TestContract(HarnessContract):
    @pytest.fixture
    def harness(self):
        return ClerkHarness()

    @pytest.fixture
    async def machine(self, tmp_path):
        backend, here = LocalBackend(), Host("local")
        machine = await backend.provision(
            LocalImage(tmp_path), here, name="here", labels={"ramure.run": "r"}
        )
        yield machine
        await machine.destroy()


# --8<-- [end:contract]


class TestMore(TestContract):
    async def test_nothing_is_lost_or_doubled_where_the_connection_breaks(self, stage):
        agent = await stage.start()
        await agent.ready()
        agent.offer("count")
        for number in range(20):
            agent.tell(f'call count {{"text": "{number}"}}')
            call = await agent.says(Call, number + 1)
            agent.channel._link.transport.abort()  # the answer waits for the next connection
            agent.answer(call.call, str(number))
        await agent.idles()
        assert [call.arguments["text"] for call in agent.said(Call)] == [*map(str, range(20))]
        assert not agent.said(Result)

    async def test_it_ends_when_its_message_says_so(self, stage):
        agent = await stage.start()
        agent.tell("say farewell\nexit 3")
        with anyio.fail_after(self.patience):
            ending = await agent.session.wait()
        assert (ending.exit_code, ending.expected, ending.screen) == (3, False, "farewell")
