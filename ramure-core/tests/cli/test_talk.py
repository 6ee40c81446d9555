"""``ramure send``, ``ramure call`` and ``ramure stop``."""

import os
import signal

import pytest


def messages(house, run, agent):
    return [e["data"]["text"] for e in house.log(run, agent) if e["type"] == "message_sent"]


def test_send(house, live):
    sent = house.ramure("send", "worker", "look", "at", "this")
    assert (sent.code, sent.out, sent.err) == (0, "", "sent to worker\n")
    assert house.ramure("send", "worker", "-", stdin="from\nstdin").code == 0
    assert messages(house, live.id, "worker") == ["look at this", "from\nstdin"]


def test_send_finds_an_agent_by_the_beginning_of_its_address(house, live):
    assert house.ramure("send", "rev", "hello").err == "sent to reviewer\n"
    assert messages(house, live.id, "reviewer") == ["hello"]


def test_send_to_nobody(shared):
    unknown = shared.ramure("send", "nobody", "hello")
    assert unknown.code == 5
    assert "reviewer, worker, writer" in unknown.err
    ambiguous = shared.ramure("send", "w", "hello")
    assert ambiguous.code == 5
    assert "worker, writer" in ambiguous.err


def test_send_nothing(shared):
    assert shared.ramure("send", "worker", " ").code == 2
    assert shared.ramure("send", "worker").code == 2


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("add", "a=1"), "11\n"),
        (("add", "a=1", "b=2"), "3\n"),
        (("add", "--json", '{"a": 5}'), "15\n"),
        (("add", "--json", '{"a": 5}', "b=0"), "5\n"),
        (("greet", "name=Ann"), "hello Ann\n"),
        (("double", "x=4"), '{"doubled": 8}\n'),
        (("double", "x=4", "--process", "child"), '{"doubled": 8}\n'),
        (("double", "x=4", "--process", "1.1"), '{"doubled": 8}\n'),
        (("told", 'what={"a": [1, null]}'), "{'a': [1, None]}\n"),
        (("told", "what=plain text"), "'plain text'\n"),
        (("told", "what=a=b"), "'a=b'\n"),
        (("told", "what="), "''\n"),
    ],
)
def test_call(shared, arguments, printed):
    called = shared.ramure("call", *arguments)
    assert (called.code, called.out, called.err) == (0, printed, "")


def test_call_reads_its_arguments_from_stdin(shared):
    assert shared.ramure("call", "greet", "--json", "-", stdin='{"name": "Bo"}').out == "hello Bo\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("broken",), 1, "ValueError: kaput"),
        (("add", "a=x"), 1, "a: should be a valid integer"),
        (("add",), 1, "a"),
        (("nothing",), 1, "double (1.1 child)"),
        (("add", "--process", "nobody"), 1, "no process 'nobody'"),
        (("add", "a"), 2, "NAME=VALUE"),
        (("add", "--json", "[1]"), 2, "object"),
        (("add", "--json", "{"), 2, "--json"),
        (("slow", "--timeout", "0.2"), 1, "0.2 s"),
    ],
)
def test_call_tells_what_is_wrong(shared, arguments, code, said):
    called = shared.ramure("call", *arguments)
    assert (called.code, called.out) == (code, "")
    assert said in called.err
    assert "Traceback" not in called.err


def test_stop_ends_a_run_and_waits_for_it(house, live):
    stopped = house.ramure("stop")
    assert (stopped.code, stopped.out) == (0, "")
    assert live.id in stopped.err
    assert list((house.home / "runtimes").iterdir()) == []
    assert live.process.wait(60) == 1


def test_stop_says_what_could_not_be_removed(house, stubborn):
    stopped = house.ramure("stop")
    assert stopped.code == 1
    [machine] = stubborn.said
    assert f"the run {stubborn.id} has ended, but" in stopped.err
    assert machine in stopped.err
    assert "`ramure gc`" in stopped.err
    assert stubborn.process.wait(60) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("send", "worker", "hello"),
        ("call", "add", "a=1"),
        ("call", "add", "a=1", "--timeout", "30"),
        ("ssh", "worker", "true"),
    ],
    ids=" ".join,
)
def test_a_run_that_does_not_answer(house, live, arguments):
    os.kill(live.process.pid, signal.SIGSTOP)
    try:
        silent = house.ramure(*arguments)
        assert silent.code == 6
        assert "does not answer" in silent.err
    finally:
        os.kill(live.process.pid, signal.SIGCONT)
