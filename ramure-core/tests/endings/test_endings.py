"""However a program ends, it leaves nothing behind."""

import signal
import time

import pytest

from ending_programs import AT_WORK, BOUND, HANGS, KILLED, WITH_PI


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("return 1", None),
        ("raise KeyError('x')", "KeyError"),
        ("fail('no'); await wait()", "ProcessFailed"),
        ("done(1); await wait()", None),
    ],
)
def test_a_program_that_ends_by_itself(start, then, said):
    program = start(AT_WORK.format(then=then))
    program.hear("up")
    if said:
        program.hear(said)
    assert program.end()[0] == 0
    assert not program.files()
    program.wait_clean(BOUND)


def test_a_time_out(start):
    source = AT_WORK.replace("@agent_process", "@agent_process(timeout=2)")
    program = start(source.format(then="await asyncio.sleep(3600)"))
    program.hear("ProcessTimeout")
    program.end()
    program.wait_clean(BOUND)


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], -signal.SIGTERM),
        ([signal.SIGHUP], -signal.SIGHUP),
        ([signal.SIGINT], -signal.SIGINT),
        ([signal.SIGINT, signal.SIGINT], -signal.SIGINT),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], None),
        ([signal.SIGTERM, signal.SIGTERM], None),
    ],
    ids=lambda v: "-".join(s.name for s in v) if isinstance(v, list) else "",
)
def test_a_program_that_is_told_to_end(start, signals, code):
    program = start(AT_WORK.format(then="await wait()"))
    program.hear("up")
    for number in signals:
        program.signal(number)
        time.sleep(0.02)
    got, errors = program.end()
    program.wait_clean(KILLED if code is None else BOUND)  # the last one may have killed it
    if code is not None:
        assert got == code, errors
    assert "ExceptionGroup" not in errors


@pytest.mark.pi
@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT],
        [signal.SIGINT, signal.SIGINT],
    ],
    ids=lambda signals: "-".join(s.name for s in signals),
)
def test_a_program_with_real_agents_that_is_told_to_end(start, pi, signals):
    program = start(WITH_PI)
    program.hear("up")
    there = program.processes().values()
    assert any("tmux" in title for title in there), there
    assert any("/pi-coding-agent/" in title for title in there), there
    assert program.listening()
    for number in signals:
        program.signal(number)
        time.sleep(0.02)
    got, errors = program.end()
    program.wait_clean(BOUND)
    assert got == -signals[0], errors
    assert "Traceback" not in errors or signals[0] is signal.SIGINT
    assert "ExceptionGroup" not in errors


BUSY = """
from contextlib import suppress
from ramure import ProcessHandle, current_process, expose

async def busy(name):
    async def slow():
        say(name)
        await asyncio.sleep(3600)

    expose(slow)
    with suppress(ramure.EndpointError, asyncio.CancelledError):
        await ProcessHandle(current_process()).call("slow")

@agent_process
async def level(number, how):
    working = asyncio.create_task(busy(f"level {number}"))
    if not number:
        await wait()
    elif how == "awaited":
        await level(number - 1, how)
    else:
        spawn(level, number - 1, how)
        await wait()
"""


@pytest.mark.parametrize("how", ["awaited", "spawned"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_endpoints_at_work_in_a_tree_share_the_time_to_finish(start, number, how):
    program = start(f"{BUSY}\nasyncio.run(level(2, {how!r}))")
    heard = 0
    while heard < 3:
        program.hear("level 0", "level 1", "level 2")
        heard += 1
    program.signal(number)
    program.end()
    program.wait_clean(BOUND)


def test_a_signal_shortens_the_time_to_finish_of_a_process_that_ends_already(start):
    program = start(
        BUSY
        + """
        @agent_process
        async def main():
            working = asyncio.create_task(busy("at work"))
            await asyncio.sleep(1)
            say("ending")

        asyncio.run(main())
        """.replace("\n        ", "\n")
    )
    program.hear("ending")
    program.signal(signal.SIGTERM)
    program.end()
    program.wait_clean(BOUND)


def test_a_second_ctrl_c_leaves_no_time_to_finish(start):
    program = start("""
        @agent_process
        async def child():
            try:
                await asyncio.sleep(3600)
            finally:
                say("ending")
                while True:  # for ever, were it cancelled only once
                    await asyncio.sleep(3600)

        @agent_process
        async def main():
            spawn(child)
            say("up")
            await wait()

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("interrupted")
        """)
    program.hear("up")
    program.signal(signal.SIGINT)
    program.hear("ending")
    program.signal(signal.SIGINT)
    program.hear("interrupted")
    program.end()
    program.wait_clean(BOUND)


def test_a_call_that_a_second_ctrl_c_keeps_from_beginning(start):
    """The call is made, and its process ended before the endpoint has taken its first step."""
    program = start("""
        import signal

        @agent_process
        async def main():
            @ramure.expose
            async def ping():
                return "pong"

            await wait()

        async def call(handle):
            try:
                say(await handle.call("ping"))
            except ramure.EndpointError as error:
                sys.stderr.write(str(error))

        async def program():
            async with running(main) as handle:
                await call(handle)
                try:
                    await asyncio.sleep(3600)
                finally:
                    calling = asyncio.create_task(call(handle))
                    signal.raise_signal(signal.SIGINT)
                    await calling

        asyncio.run(program())
        """)
    program.hear("pong")
    program.signal(signal.SIGINT)
    assert "main.ping: the process ended before the call did" in program.end()[1]
    program.wait_clean(BOUND)


def test_ctrl_c_where_the_program_runs_the_loop_by_itself(start):
    asyncios = "asyncio.new_event_loop().run_until_complete(main())"
    source = AT_WORK.replace("asyncio.run(main())", asyncios)
    program = start(source.format(then="await wait()"))
    program.hear("up")
    program.signal(signal.SIGINT)
    program.wait_clean(BOUND, but_itself=True)
    # What the interrupted loop has not told of its end, Python waits for: until the next one.
    deadline = time.monotonic() + HANGS
    while program.process.poll() is None and time.monotonic() < deadline:
        program.signal(signal.SIGINT)
        time.sleep(0.2)
    assert "KeyboardInterrupt" in program.end()[1]


@pytest.mark.parametrize("stage", ["machine", "agent"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_while_something_is_being_made(start, stage, number):
    program = start(
        f"""
        from ramure.backends.local import LocalBackend

        provision, launch = LocalBackend.provision, ScriptedHarness.start

        async def slow_provision(self, *args, **kwargs):
            made = await provision(self, *args, **kwargs)
            if "{stage}" == "machine":
                say("making")
                await asyncio.sleep(1)
            return made

        async def slow_launch(self, *args, **kwargs):
            made = await launch(self, *args, **kwargs)
            say("making")
            await asyncio.sleep(1)
            return made

        LocalBackend.provision = slow_provision
        ScriptedHarness.start = slow_launch

        @agent_process
        async def main():
            await agent("a", harness=harness)
            await wait()

        asyncio.run(main())
        """
    )
    program.hear("making")
    program.signal(number)
    program.end()
    program.wait_clean(KILLED)


def test_cancelled_at_any_await(start):
    """Whatever moment a cancellation comes at, nothing is left when it has been through."""
    program = start(
        """
        @agent_process
        async def main():
            await asyncio.gather(agent("a", harness=harness), machine())
            await wait()

        async def cancelled_after(seconds):
            task = asyncio.create_task(main())
            await asyncio.sleep(seconds)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            try:
                await task
            except asyncio.CancelledError:
                pass
            runtimes = os.environ["RAMURE_HOME"] + "/runtimes"
            left = os.path.isdir(runtimes) and os.listdir(runtimes)
            assert not left, (seconds, left)

        async def program():
            for n in range(40):
                await cancelled_after(n * 0.01)

        asyncio.run(program())
        say("through")
        """
    )
    program.hear("through")
    code, errors = program.end()
    assert code == 0, errors
    program.wait_clean(BOUND)


def test_sys_exit_in_a_body(start):
    program = start(AT_WORK.format(then="sys.exit(3)"))
    program.hear("up")
    code, errors = program.end()
    assert (code, errors) == (3, "")
    program.wait_clean(BOUND)


CLOSED_AT_ONCE = """
@ramure.agent_process
async def child():
    await agent("w", harness=ScriptedHarness(["x"]))
    await wait()

@ramure.agent_process
async def main():
    spawn(child)
    await child()

async def closed():
    root = asyncio.create_task(main())
    for _ in range(STEPS):
        await asyncio.sleep(0)
    # The event loop is closed over it, and cancels its tasks, whichever have begun.

asyncio.run(closed())
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 10, 40])
def test_a_loop_that_is_closed_over_a_starting_run(start, steps):
    program = start(CLOSED_AT_ONCE.replace("STEPS", str(steps)))
    code, errors = program.end()
    assert code == 0, errors
    assert "never retrieved" not in errors
    assert "unhandled exception" not in errors
    program.wait_clean(10)
