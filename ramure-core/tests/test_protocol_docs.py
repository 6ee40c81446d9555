"""The page for authors of bridges says everything, and what it says is so."""

import functools
import inspect
import json
import operator
import re
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

from ramure.run import protocol
from ramure.run.channel import Channel, Limits
from ramure.run.listen import Listener
from ramure.run.protocol import (
    Call,
    Deliver,
    Message,
    Numbered,
    Ready,
    Result,
    State,
    Taken,
    ToolDef,
)

HANGS = 60
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text()
KINDS = {
    kind.__struct_config__.tag: kind
    for _, kind in inspect.getmembers(protocol, inspect.isclass)
    if issubclass(kind, Message) and kind not in (Message, Numbered)
}
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))


def rows(section):
    """The fields of a section's first table, with their types."""
    table = section.split("| field |", 1)[-1].split("\n\n", 1)[0] if "| field |" in section else ""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE))


def test_every_kind_of_message_is_described_and_no_other():
    assert set(SECTIONS) == set(KINDS)


@pytest.mark.parametrize("tag", KINDS)
def test_every_field_is_described_and_no_other(tag):
    fields = {field.name: field for field in msgspec.structs.fields(KINDS[tag])}
    described = rows(SECTIONS[tag])
    assert set(described) == set(fields)
    for name, words in described.items():
        optional = not fields[name].required and name != "n"
        assert ("default" in words) == optional, f"{tag}.{name}"


def test_every_field_of_a_tool_is_described():
    table = SECTIONS["tools"].split("| field of a tool |")[1].split("\n\n")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert described == set(ToolDef.__struct_fields__)


@pytest.mark.parametrize("tag", KINDS)
def test_every_example_is_such_a_message(tag):
    (example,) = re.findall(r"```json\n(.*?)\n```", SECTIONS[tag], re.DOTALL)
    message = msgspec.json.decode(example, type=KINDS[tag])
    assert json.loads(msgspec.json.encode(message)) == json.loads(example)


def test_the_transcript_is_of_the_protocol():
    union = msgspec.json.Decoder(functools.reduce(operator.or_, KINDS.values()))
    lines = re.findall(r"^[<>] (\{.*\})$", PAGE, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        union.decode(line)


def states_at_taking(messages):
    """What was said last of the state, for each message that was taken up."""
    states = ["idle"]
    for message in messages:
        if isinstance(message, State):
            states[-1] = message.state
        elif isinstance(message, Taken):
            states.append(states[-1])
    return states[:-1]


def test_in_the_transcript_it_is_busy_when_it_takes_a_message_up():
    lines = re.findall(r"^> (\{.*\})$", PAGE, re.MULTILINE)
    said = [KINDS[json.loads(line)["t"]] for line in lines]
    messages = [
        msgspec.json.decode(line, type=kind) for line, kind in zip(lines, said, strict=True)
    ]
    assert states_at_taking(messages) == ["busy"]


def test_every_refusal_is_described():
    sources = Path(inspect.getfile(protocol)).parent
    text = "".join(
        (sources / f"{name}.py").read_text()
        for name in ("channel", "connection", "listen", "websocket")
    )
    used = set(re.findall(r'code="(\w+)"', text))
    section = PAGE.split("## Refusals")[1].split("## ")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert described == used
    assert all(f"``{code}``" in protocol.Refused.__doc__ for code in used)


def test_the_limits_are_those_of_the_code():
    limits = Limits()
    section = PAGE.split("## Limits")[1].split("\n## ")[0]
    for figure in (
        f"{limits.max_hello} bytes, within {limits.hello_timeout:g} s",
        f"{limits.max_message} bytes",
        f"| {limits.max_unproven};",
        f"{limits.backlog_messages} messages, {limits.backlog_bytes} bytes",
    ):
        assert figure in section
    assert f"every {limits.ping_after:g} s" in PAGE
    assert f"after {limits.silent_after:g} s" in PAGE.replace("\n", " ")


async def test_the_minimal_bridge_works_through_cuts(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = tmp_path / "bridge.py"
    program.write_text(code)
    heard, summaries = [], []

    def last_state():
        return [m.state for m in heard if isinstance(m, State)][-1]

    def hear(message):
        heard.append(message)
        if isinstance(message, Call):
            summaries.append(message.arguments["summary"])
            channel.send(Result(call=message.call, ok=True, text=""))
            if len(summaries) % 3 == 1:
                channel._link.transport.abort()  # in the middle of what the bridge has to say

    listener = Listener("r")
    await listener.open_unix(tmp_path / "s")
    channel = Channel(run="r", agent="w", token="t", lease=5.0, on_message=hear)
    listener.register(channel)
    try:
        with anyio.fail_after(HANGS):
            async with await anyio.open_process(
                [sys.executable, program, tmp_path / "s", "w"], stderr=None
            ) as bridge:
                await bridge.stdin.send(b"t\n")
                for number in range(20):
                    channel.send(Deliver(id=f"m{number}", text=str(number)))
                    await anyio.sleep(0.01)
                await channel.drained()
                # What it says while it is not connected, it says by its exit code.
                with anyio.fail_after(HANGS):
                    while len(summaries) < 20 or not channel.connected or last_state() != "idle":
                        await anyio.sleep(0.01)
                channel.close("enough")
                assert await bridge.wait() == 0
    finally:
        await listener.aclose()
    assert summaries == [str(number) for number in range(20)]
    assert isinstance(heard[0], Ready)
    assert [m.id for m in heard if isinstance(m, Taken)] == [f"m{n}" for n in range(20)]
    assert states_at_taking(heard) == ["busy"] * 20
    assert last_state() == "idle"
