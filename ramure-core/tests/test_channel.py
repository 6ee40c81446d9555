"""Channels: nothing lost, nothing doubled, nothing reordered, whatever happens to connections."""

import json
import logging
import random
from asyncio import CancelledError
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ramure.errors import AgentEnded, AgentError, UsageError
from ramure.run.channel import Channel, Limits
from ramure.run.listen import Listener
from ramure.run.numbering import Numbering
from ramure.run.protocol import (
    VERSION,
    Activity,
    Call,
    Cancel,
    Deliver,
    Queued,
    Ready,
    Result,
    ToolDef,
    Tools,
)
from ramure.testing.bridge import BridgeClient, BridgeEndedError

USUAL = Limits()
HANGS = 30
"""Seconds after which a test has hung."""


class Desk:
    """A run that offers one channel: answers calls at once and remembers what it heard."""

    def __init__(self, address, limits):
        self.address = address
        self.heard = []
        self.links = []
        self.channel = Channel(
            run="r",
            agent="w",
            token="secret",
            lease=5.0,
            on_message=self.hear,
            on_link=self.links.append,
            limits=limits,
        )

    def hear(self, message):
        self.heard.append(message)
        if isinstance(message, Call):
            self.channel.send(Result(call=message.call, ok=True, text=f"{message.arguments}"))

    def bridge(self, **settings):
        return BridgeClient(self.address, agent="w", token="secret", **settings)

    def calls(self):
        return [message.call for message in self.heard if isinstance(message, Call)]


@pytest.fixture(params=["unix", "websocket"])
def kind(request):
    return request.param


@pytest.fixture
def open_desk(tmp_path, kind):
    @asynccontextmanager
    async def opened(limits=USUAL):
        listener = Listener("r", limits)
        if kind == "unix":
            await listener.open_unix(tmp_path / "s")
            address = f"unix:{tmp_path / 's'}"
        else:
            host, port = await listener.open_websocket("127.0.0.1", 0)
            address = f"ws://{host}:{port}"
        desk = Desk(address, limits)
        listener.register(desk.channel)
        try:
            with anyio.fail_after(HANGS):
                yield desk
        finally:
            desk.channel.close("the test is over")
            await listener.aclose()

    return opened


@pytest.fixture
async def desk(open_desk):
    async with open_desk() as desk:
        yield desk


async def until(condition):
    with anyio.fail_after(HANGS):
        while not condition():
            await anyio.sleep(0.005)


# --- the ordinary way


async def test_a_call_is_answered(desk):
    async with desk.bridge() as bridge:
        await bridge.ready("h", version="1", pid=7, model="m")
        result = await bridge.call("add", {"a": 1})
    assert desk.heard[0] == Ready(n=1, harness="h", version="1", pid=7, model="m")
    assert result == Result(n=1, call="call-1", ok=True, text="{'a': 1}")


async def test_the_welcome_tells_what_the_bridge_must_know(desk):
    async with desk.bridge() as bridge:
        welcome = await bridge.wait_connected()
    assert (welcome.v, welcome.run, welcome.lease) == (VERSION, "r", 5.0)
    assert welcome.max_message == Limits().max_message


async def test_every_message_of_an_agent_arrives(desk):
    async with desk.bridge() as bridge:
        bridge.state("busy")
        bridge.event("turn_start", {"turn": 1})
        bridge.usage(model="m", input=3, cost=0.5)
        bridge.failure("401", final=False)
        await bridge.bye("quit")
    kinds = [type(message).__name__ for message in desk.heard]
    assert kinds == ["State", "Activity", "Used", "Failure", "Bye"]


async def test_a_message_to_the_agent_is_queued_and_taken(desk):
    desk.channel.send(Deliver(id="m1", text="hi"))
    async with desk.bridge() as bridge:
        message = await bridge.receive()
        bridge.taken(message)
        await bridge.drained()
    assert [type(m).__name__ for m in desk.heard] == ["Queued", "Taken"]
    assert desk.heard[0] == Queued(n=1, id="m1")


async def test_an_aborted_call_is_cancelled_in_the_run(desk):
    desk.hear = lambda _message: None
    desk.channel._on_message = desk.heard.append
    async with desk.bridge() as bridge, anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.call, "slow")
        await until(lambda: desk.heard)
        tasks.cancel_scope.cancel()
    await until(lambda: len(desk.heard) == 2)
    assert desk.heard[1] == Cancel(n=2, call="call-1")


async def test_a_slow_call_delays_no_other(desk):
    late = []

    def hear(message):
        if message.tool == "slow":
            late.append(message)
        else:
            desk.channel.send(Result(call=message.call, ok=True, text="quick"))

    desk.channel._on_message = hear
    async with desk.bridge() as bridge, anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.call, "slow")
        await until(lambda: late)
        assert (await bridge.call("quick")).text == "quick"
        desk.channel.send(Result(call=late[0].call, ok=True, text="slow"))


async def test_acknowledgements_are_few(desk):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        acks = []
        numbering = bridge._numbering
        acknowledge = numbering.acknowledge
        numbering.acknowledge = lambda n: (acks.append(n), acknowledge(n))
        for number in range(640):
            bridge.event("e", number)
        await bridge.drained()
    assert len(acks) <= 64


# --- connections that come and go


async def test_what_is_sent_without_a_connection_arrives_later(desk):
    for number in range(5):
        desk.channel.send(Deliver(id=str(number), text=""))
    assert not desk.channel.connected
    async with desk.bridge() as bridge:
        assert [(await bridge.receive()).id for _ in range(5)] == list("01234")
        bridge.drop()
        result = await bridge.call("while-disconnected")
    assert result.ok
    assert desk.calls() == ["call-1"]


async def test_a_call_survives_a_cut_before_its_result(desk):
    calls = []
    desk.channel._on_message = calls.append
    async with desk.bridge() as bridge, anyio.create_task_group() as tasks:
        results = []

        async def call():
            results.append(await bridge.call("x"))

        tasks.start_soon(call)
        await until(lambda: calls)
        bridge.drop()
        await until(lambda: not desk.channel.connected)
        desk.channel.send(Result(call="call-1", ok=True, text="after the cut"))
    assert results[0].text == "after the cut"
    assert len(calls) == 1


async def test_the_run_is_told_of_connections(desk):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        bridge.drop()
        await until(lambda: bridge.welcomes == 2)
    await until(lambda: not desk.channel.connected)
    assert desk.links == [True, False, True, False]


async def test_a_second_bridge_with_the_same_token_is_refused(desk):
    async with desk.bridge() as first:
        await first.wait_connected()
        async with desk.bridge() as second:
            await second.wait_ended()
            assert second.refusal.code == "session"
        assert (await first.call("still here")).ok


async def test_a_bridge_that_lost_its_memory_is_refused(desk):
    async with desk.bridge(session="s") as bridge:
        await bridge.call("x")
        desk.channel.send(Deliver(id="1", text=""))
        await desk.channel.drained()
    async with desk.bridge(session="s") as forgetful:
        await forgetful.wait_ended()
    assert forgetful.refusal.code == "malformed"


async def test_many_faults_lose_double_and_reorder_nothing(desk):
    """Cuts, repetitions and forgotten acknowledgements, in both directions, at random."""
    chance = random.Random(4)
    count = 3000
    to_agent = []

    async def sow_faults(bridge):
        while True:
            await anyio.sleep(chance.random() * 0.02)
            match chance.randrange(4):
                case 0:
                    bridge.drop()
                case 1 if bridge.connected:
                    bridge.repeat(chance.randrange(1, 50))
                case 2:
                    bridge.forget_acks(chance.random() < 0.5)
                case 3 if desk.channel._link is not None:
                    desk.channel._link.transport.abort()

    async def talk(bridge):
        for number in range(count):
            bridge.event("e", number)
            desk.channel.send(Deliver(id=str(number), text="x" * chance.randrange(300)))
            if chance.random() < 0.1:
                await anyio.lowlevel.checkpoint()
            if chance.random() < 0.02:
                await anyio.sleep(0.005)

    async def listen(bridge):
        while len(to_agent) < count:
            to_agent.append(int((await bridge.receive()).id))

    async with desk.bridge() as bridge:
        async with anyio.create_task_group() as faults:
            faults.start_soon(sow_faults, bridge)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(talk, bridge)
                tasks.start_soon(listen, bridge)
            faults.cancel_scope.cancel()
        bridge.forget_acks(forget=False)
        await bridge.drained()
        await bridge.call("last")  # its number makes the bridge acknowledge what it had forgotten
        await desk.channel.drained()
    assert to_agent == list(range(count))
    heard = [message.data for message in desk.heard if isinstance(message, Activity)]
    assert heard == list(range(count))
    assert bridge.welcomes > 5


class Pipe:
    """One connection between two ends, in memory: what is on its way is lost when it is cut."""

    def __init__(self):
        self.writable = True
        self.frames = []

    def write(self, frame):
        self.frames.append(frame)


class TwoEnds(RuleBasedStateMachine):
    """Two ends and everything that can happen between them, in any order."""

    def __init__(self):
        super().__init__()
        self.ends = [self._end(), self._end()]
        self.sent = [0, 0]
        self.seen = [[], []]
        self.pipes = None

    def _end(self):
        end = Numbering(max_message=1000, max_messages=1000, max_bytes=100_000)
        end._timer = object()  # no clock here: acknowledgements are a rule, or due by their count
        return end

    @rule(side=st.sampled_from([0, 1]), count=st.integers(1, 5))
    def send(self, side, count):
        for _ in range(count):
            self.sent[side] += 1
            self.ends[side].send(Activity(type="e", data=self.sent[side]))

    @rule()
    def connect(self):
        self.cut()
        self.pipes = [Pipe(), Pipe()]
        got = [end.got for end in self.ends]
        for side in (0, 1):
            self.ends[side].resume(self.pipes[side], got[1 - side])

    @rule()
    def cut(self):
        self.pipes = None
        for end in self.ends:
            end.suspend()

    @rule(side=st.sampled_from([0, 1]), count=st.integers(1, 10))
    def travel(self, side, count):
        if self.pipes is None:
            return
        for _ in range(min(count, len(self.pipes[side].frames))):
            self._take(1 - side, json.loads(self.pipes[side].frames.pop(0)))

    @rule(side=st.sampled_from([0, 1]))
    def twice(self, side):
        if self.pipes is not None and self.pipes[side].frames:
            self._take(1 - side, json.loads(self.pipes[side].frames[0]))

    @rule(side=st.sampled_from([0, 1]))
    def acknowledge(self, side):
        self.ends[side].write_ack()

    @rule(side=st.sampled_from([0, 1]), writable=st.booleans())
    def press_back(self, side, writable):
        if self.pipes is not None:
            self.pipes[side].writable = writable
            self.ends[side].pump()

    def _take(self, side, message):
        if message["t"] == "ack":
            self.ends[side].acknowledge(message["n"])
        elif self.ends[side].arrived(message["n"]):
            self.seen[side].append(message["data"])

    @invariant()
    def each_once_and_in_order(self):
        for side in (0, 1):
            assert self.seen[1 - side] == list(range(1, len(self.seen[1 - side]) + 1))

    @invariant()
    def the_backlog_is_what_is_not_acknowledged(self):
        for end in self.ends:
            assert len(end.kept()) == end.sent - end.acknowledged
            assert end.backlog_bytes == sum(map(len, end.kept()))

    def teardown(self):
        self.connect()
        for side in (0, 1):
            self.travel(side, 10_000)
            self.ends[1 - side].write_ack()
        for side in (0, 1):
            self.travel(side, 10_000)
        assert [len(seen) for seen in self.seen] == self.sent[::-1]
        assert [end.kept() for end in self.ends] == [[], []]


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# --- what must not do harm


@pytest.mark.parametrize("error", [ValueError("x"), CancelledError()])
async def test_a_listener_that_raises_ends_nothing(desk, error, caplog):
    def hear(message):
        if message.tool == "bad":
            raise error
        desk.channel.send(Result(call=message.call, ok=True, text=""))

    desk.channel._on_message = hear
    async with desk.bridge() as bridge, anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.call, "bad")
        assert (await bridge.call("good")).ok
        assert bridge.welcomes == 1
        tasks.cancel_scope.cancel()
    assert "failed to handle Call" in caplog.text


@pytest.mark.parametrize(
    "frame",
    [
        b'{"t":"call","call":"c9","tool":["not a name"],"n":1}',
        b'{"t":"call","n":1,"call":"c9","tool":"x","arguments":{"a":NaN}}',
        b'{"t":"call","call":"c9","tool":"x","arguments":{"a":tru},"n":1}',
        b'{"t":"call","n":1,"call":"c9","tool":"x","arguments":' + b"[" * 9999 + b"]" * 9999 + b"}",
    ],
    ids=["wrong type", "NaN", "not JSON", "too deep"],
)
async def test_a_call_that_cannot_be_read_is_answered(desk, frame):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        answers = catch_results(bridge)
        bridge.raw(frame)
        bridge._numbering.sent = bridge._numbering._written = 1
        bridge._numbering._kept[1] = frame
        await until(lambda: answers)
        assert not answers[0].ok
        assert answers[0].call == "c9"
        assert "could not read" in answers[0].text
        assert (await bridge.call("next")).ok
        assert bridge.welcomes == 1
    assert desk.calls() == ["call-1"]


def catch_results(bridge):
    """What results come for calls that the bridge client itself knows nothing of."""
    answers = []
    obey = bridge._obey

    def catch(message):
        if isinstance(message, Result):
            answers.append(message)
        obey(message)

    bridge._obey = catch
    return answers


async def test_a_call_over_the_limit_is_answered_and_the_connection_goes_on(open_desk):
    async with open_desk(Limits(max_message=100_000)) as desk, desk.bridge() as bridge:
        await bridge.wait_connected()
        assert "too large" in (await bridge.call("x", {"a": "y" * 200_000})).text
        bridge._numbering.max_message = 10**9  # a bridge that does not heed what it was told
        result = await bridge.call("x", {"a": "y" * 200_000})
        assert not result.ok
        assert "more than 100000 bytes" in result.text
        assert (await bridge.call("next")).ok
        assert bridge.welcomes == 1


async def test_a_message_of_an_unknown_kind_counts_as_received(desk, caplog):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        bridge._numbering.send(Activity(type="e"))
        bridge._numbering.sent += 1
        frame = b'{"t":"from-the-future","n":2}'
        bridge._numbering._kept[2] = frame
        bridge.raw(frame)
        bridge._numbering._written = 2
        assert (await bridge.call("next")).ok
        await bridge.drained()
    assert "message 2 is left out" in caplog.text


async def test_after_a_bad_frame_the_bridge_goes_on(desk):
    async with desk.bridge() as bridge:
        await bridge.call("before")
        bridge.raw(b"!!!")
        assert (await bridge.call("after")).ok
        await until(lambda: bridge.welcomes == 2)
        assert bridge.refusal.code == "malformed"
        assert bridge.refusal.retry
        assert (await bridge.call("again")).ok
    assert desk.calls() == ["call-1", "call-2", "call-3"]


@pytest.mark.parametrize(
    "frame", [b"!!!", b'{"t":"state","state":"idle","n":77}', b'{"t":"ack","n":9}', b"[]"]
)
async def test_a_bridge_that_keeps_breaking_the_rules_is_given_up(desk, frame):
    async with desk.bridge() as bridge:
        for attempt in range(1, 4):
            await until(lambda n=attempt: bridge.welcomes == n and bridge.connected)
            bridge.raw(frame)
            await until(lambda: not bridge.connected)
        assert "refused" in await bridge.wait_ended()
    assert not bridge.refusal.retry


async def test_half_an_emoji_is_no_reason_to_lose_a_message(desk):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        frame = b'{"t":"event","type":"text","data":"\\ud83d","n":1}'
        bridge._numbering.sent = bridge._numbering._written = 1
        bridge._numbering._kept[1] = frame
        bridge.raw(frame)
        desk.channel.send(Deliver(id="1", text="a \ud83d b"))
        assert (await bridge.receive()).text == "a ? b"
        await bridge.drained()
    assert desk.heard[0].data == "?"


async def test_what_is_not_json_takes_no_number(desk):
    bad = ToolDef(name="t", description="", parameters={"default": object()})
    with pytest.raises(UsageError, match="'w'"):
        desk.channel.send(Tools(tools=[bad]))
    circle = {}
    circle["self"] = circle
    with pytest.raises(UsageError):
        desk.channel.send(Tools(tools=[ToolDef(name="t", description="", parameters=circle)]))
    nan = ToolDef(name="t", description="", parameters={"default": float("nan")})
    assert desk.channel.send(Tools(tools=[nan])) == 1
    async with desk.bridge() as bridge:
        await until(lambda: bridge.tools)
        assert bridge.tools["t"].parameters == {"default": None}


# --- limits


async def test_a_big_message_is_nothing_special(desk):
    async with desk.bridge() as bridge:
        text = "0123456789" * 500_000
        assert text in (await bridge.call("x", {"a": text})).text
        assert bridge.welcomes == 1


async def test_a_result_over_the_limit_becomes_an_error(open_desk):
    async with open_desk(Limits(max_message=1000)) as desk, desk.bridge() as bridge:
        result = await bridge.call("x", {"a": "y" * 900})
        assert result.ok
        desk.hear = None
        desk.channel._on_message = lambda call: desk.channel.send(
            Result(call=call.call, ok=True, text="z" * 5000)
        )
        result = await bridge.call("x")
        assert not result.ok
        assert "result lost" in result.text
        with pytest.raises(AgentError, match="too large"):
            desk.channel.send(Deliver(id="1", text="z" * 5000))
        assert bridge.welcomes == 1


@pytest.mark.parametrize("limits", [Limits(backlog_messages=3), Limits(backlog_bytes=400)])
async def test_the_backlog_is_limited(open_desk, limits):
    async with open_desk(limits) as desk:
        for number in range(3):
            desk.channel.send(Deliver(id=str(number), text="x" * 80))
        with pytest.raises(AgentError, match=r"agent 'w': it takes no messages.*not connected"):
            desk.channel.send(Deliver(id="4", text="x" * 80))
        async with desk.bridge() as bridge:
            await desk.channel.drained()
            desk.channel.send(Deliver(id="3", text="x"))
            assert [(await bridge.receive()).id for _ in range(4)] == list("0123")


async def test_a_bridge_that_does_not_read_costs_bounded_memory(desk):
    count = 400
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        bridge.pause_reading()
        for number in range(count):
            desk.channel.send(Deliver(id=str(number), text="x" * 50_000))
            bridge.raw(b'{"t":"ping"}')
            await anyio.lowlevel.checkpoint()
        transport = desk.channel._link.transport
        assert transport.get_write_buffer_size() < 1_000_000
        assert desk.channel._numbering.backlog_bytes > 19_000_000
        bridge.resume_reading()
        assert [int((await bridge.receive()).id) for _ in range(count)] == list(range(count))
        await desk.channel.drained()
        assert desk.channel._numbering.backlog_bytes == 0
        assert bridge.welcomes == 1


# --- the end


async def test_closing_tells_the_bridge_to_end(desk):
    async with desk.bridge() as bridge:
        await bridge.ready()
        desk.channel.close("all is done")
        desk.channel.close("a second time")
        assert await bridge.wait_ended() == "all is done"
        with pytest.raises(BridgeEndedError):
            bridge.event("x")
    with pytest.raises(AgentEnded, match="agent 'w': all is done"):
        desk.channel.send(Deliver(id="1", text=""))


async def test_closing_acknowledges_what_has_come(desk):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        desk.channel._on_message = lambda _: desk.channel.close("bye")
        await bridge.ready()  # returns once acknowledged


@pytest.mark.parametrize("stop", [True, False])
async def test_a_bridge_that_comes_after_the_end_is_told_so(desk, stop):
    async with desk.bridge() as bridge:
        await bridge.wait_connected()
        if stop:
            bridge.drop()
            await until(lambda: not desk.channel.connected)
        desk.channel.close("gone", stop=stop)
        assert "gone" in await bridge.wait_ended()
        assert bridge.refusal.code == "ended"
        assert not bridge.refusal.retry


async def test_every_wait_ends(desk):
    desk.channel.send(Deliver(id="1", text=""))
    ended = []

    async def expect(wait):
        with pytest.raises(AgentEnded):
            await wait()
        ended.append(wait)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, desk.channel.wait_connected)
        tasks.start_soon(expect, desk.channel.drained)
        await anyio.sleep(0.01)
        desk.channel.close("over")
    assert len(ended) == 2
    await expect(desk.channel.wait_connected)


async def test_a_call_ends_when_the_bridge_does(desk):
    desk.channel._on_message = lambda _: desk.channel.close("over")
    async with desk.bridge() as bridge:
        with pytest.raises(BridgeEndedError, match="over"):
            await bridge.call("x")


async def test_a_bridge_out_of_reach_ends_with_its_lease(tmp_path):
    with anyio.fail_after(HANGS):
        async with BridgeClient(f"unix:{tmp_path}/none", agent="w", token="t", lease=0.1) as bridge:
            assert "out of reach" in await bridge.wait_ended()


async def test_the_token_is_never_shown(desk, caplog):
    caplog.set_level(logging.DEBUG)
    async with desk.bridge() as bridge:
        bridge.raw(b"!!!")
        await bridge.call("x")
    assert "secret" not in caplog.text
    assert "secret" not in repr(desk.channel)
