"""``ramure connect`` and ``ramure ssh``, in terminals of the tests' own."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PI_PROGRAM = """
import asyncio
from ramure import agent, agent_process, current_runtime, wait
from ramure.testing import ScriptedModel

@agent_process(idle_timeout=IDLE_TIMEOUT)
async def main():
    worker = await agent("worker")
    print("ready", current_runtime().id, flush=True)
    return await wait()

async def run():
    async with ScriptedModel(["Hello, I am the script."]) as model:
        with model.use():
            await main()

asyncio.run(run())
"""


def test_ssh_opens_a_shell_where_the_agent_works(shared):
    screen = shared.terminal("ssh", "worker", SHELL="/bin/sh")
    screen.expect("on ramure-")
    screen.type("cd . && pwd && echo status=$((40+2))\n")
    screen.expect("status=42")
    screen.type("exit 7\n")
    assert screen.wait() == 7


def test_ssh_follows_the_size_of_the_window(shared):
    screen = shared.terminal("ssh", "worker")
    screen.expect("on ramure-")
    screen.resize(111, 33)
    screen.type("while test \"$(stty size)\" != '33 111'; do sleep 0.1; done; echo re''sized\n")
    screen.expect("resized")
    screen.type("exit\n")
    assert screen.wait() == 0


def test_ssh_passes_every_byte(shared):
    screen = shared.terminal("ssh", "worker", "cat")
    screen.expect("on ramure-")
    screen.type("grüße 你好\n")
    screen.expect("grüße 你好")
    screen.expect("grüße 你好")
    screen.type("\x04")
    assert screen.wait() == 0


def test_ssh_tells_a_signal_as_a_shell_does(shared):
    screen = shared.terminal("ssh", "worker", "sh", "--", "-c", "kill -9 $$")
    assert screen.wait() == 137


def test_ssh_goes_to_a_machine_without_an_agent(shared):
    [machine] = shared.live.said
    screen = shared.terminal("ssh", "--machine", machine)
    screen.expect(f"on {machine}")
    screen.type("exit\n")
    assert screen.wait() == 0


def test_leaving_a_shell_ends_it(shared, until):
    screen = shared.terminal("ssh", "worker", "--detach-key", "ctrl-]")
    screen.expect("ctrl-] leaves it")
    screen.type("sleep 1000 & echo ch''ild=$!.\n")
    screen.expect("child=")
    pid = int(screen.expect("."))
    screen.type("\x1d")
    screen.expect("detached")
    assert screen.wait() == 0
    until(lambda: not runs(pid), "the shell's child lives")


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_closed_window_ends_the_shell(house, live, until):
    screen = house.terminal("ssh", "worker")
    screen.expect("on ramure-")
    screen.type("echo sh''ell=$$.\n")
    screen.expect("shell=")
    pid = int(screen.expect("."))
    screen.close()
    screen.pid, screen.fd = 0, os.open("/dev/null", os.O_RDONLY)
    until(lambda: not runs(pid), "the shell lives")


READS_NOTHING = "stty raw -echo; echo ch''ild=$$.; exec sleep 1000"


@pytest.mark.parametrize("leaving", ["closed", "detached"])
def test_leaving_what_reads_nothing_of_a_large_paste_ends_it(shared, until, leaving):
    screen = shared.terminal("ssh", "worker", READS_NOTHING)
    screen.expect("child=")
    pid = int(screen.expect("."))
    screen.paste("x" * 1_000_000)
    if leaving == "closed":
        os.close(screen.fd)
        screen.fd = os.open("/dev/null", os.O_RDONLY)
    else:
        screen.type("\x1c")
        screen.expect("detached")
        assert screen.wait() == 0
    until(lambda: not runs(pid), "the command lives")


def test_a_terminal_of_a_program_that_is_stopped_can_be_left(house, live):
    screen = house.terminal("ssh", "worker", READS_NOTHING)
    screen.expect("child=")
    live.process.send_signal(signal.SIGSTOP)
    try:
        screen.paste("x" * 1_000_000)
        for columns in range(80, 180):
            screen.resize(columns, 24)
            time.sleep(0.01)
        screen.type("\x1c")
        screen.expect("detached")
        assert screen.wait() == 0
    finally:
        live.process.send_signal(signal.SIGCONT)


def test_a_large_paste_arrives_whole_and_in_order(shared):
    screen = shared.terminal("ssh", "worker", "stty raw -echo; echo go; head -c 300000 | cksum")
    screen.expect("go")
    much = "".join(f"{number:05}" for number in range(60_000))
    screen.paste(much)
    done = subprocess.run(["cksum"], input=much.encode(), capture_output=True, check=True)
    screen.expect(done.stdout.decode().strip())
    assert screen.wait() == 0


def test_the_terminal_ends_with_the_run(house, live):
    screen = house.terminal("ssh", "worker")
    screen.expect("on ramure-")
    house.ramure("stop")
    assert screen.wait() in (0, 6, 129, 137)


@pytest.mark.parametrize(
    ("command", "instead"), [("ssh", "ramure ssh AGENT COMMAND"), ("connect", "ramure send")]
)
def test_it_needs_a_terminal(shared, command, instead):
    said = shared.ramure(command, "worker")
    assert said.code == 2
    assert "terminal" in said.err
    assert instead in said.err


def test_ssh_runs_a_command_without_a_terminal(shared):
    said = shared.ramure(
        *("ssh", "worker", "--", "sh", "-c", "cat; tty; echo wrong >&2; exit 7"), stdin="grüße\n"
    )
    assert (said.code, said.out, said.err) == (7, "grüße\nnot a tty\n", "wrong\n")


def test_ssh_lets_a_shell_read_one_word(shared):
    said = shared.ramure("ssh", "worker", "printf '%s\\n' b a | sort; kill -9 $$")
    assert (said.code, said.out, said.err) == (137, "a\nb\n", "")


def test_ssh_tells_of_a_command_that_is_not_there(shared):
    said = shared.ramure("ssh", "worker", "no-such-command", "x")
    assert said.code == 1
    assert "no-such-command" in said.err
    assert "Traceback" not in said.err


def test_ssh_runs_on_a_machine_without_an_agent(shared):
    [machine] = shared.live.said
    assert shared.ramure("ssh", "--machine", machine, "echo", "a b").out == "a b\n"


def test_ssh_passes_much_both_ways(shared):
    much = "".join(f"{number:07}\n" for number in range(400_000))
    said = shared.ramure("ssh", "worker", "cat", stdin=much)
    assert (said.code, said.err) == (0, "")
    assert said.out == much


def test_ssh_does_not_wait_for_what_nobody_reads(shared):
    said = shared.ramure("ssh", "worker", "echo", "enough", stdin="x" * 4_000_000)
    assert (said.code, said.out) == (0, "enough\n")


def test_ssh_does_not_wait_for_a_child_that_holds_its_output(shared, until):
    said = shared.ramure("ssh", "worker", "sleep 1000 & echo $!")
    assert said.code == 0
    pid = int(said.out)
    assert runs(pid)
    psutil.Process(pid).kill()
    until(lambda: not runs(pid), "it lives")


def test_ssh_reads_a_file_and_closed_streams(shared, tmp_path):
    (tmp_path / "some.txt").write_text("from a file")
    ssh = f"{sys.executable} -m ramure ssh worker"
    for command, out in [
        (f"{ssh} cat <{tmp_path}/some.txt", "from a file"),
        (f"{ssh} 'cat; echo read' <&-", "read\n"),
        (f"{ssh} 'echo out; echo err >&2' 2>&-", "out\n"),
        (f"yes | {ssh} cat | head -n 1", "y\n"),
    ]:
        done = subprocess.run(
            ["sh", "-c", command], env=shared.env, capture_output=True, timeout=60, check=False
        )
        assert done.stdout.decode() == out, (command, done.stderr)
        assert b"Traceback" not in done.stderr


def test_interrupting_ssh_ends_a_command_that_reads_nothing(shared, until):
    command = [sys.executable, "-m", "ramure", "ssh", "worker", "echo $$; exec sleep 1000"]
    with (
        subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes,
        subprocess.Popen(command, env=shared.env, stdin=yes.stdout, stdout=subprocess.PIPE) as ssh,
    ):
        pid = int(ssh.stdout.readline())
        ssh.send_signal(signal.SIGINT)
        assert ssh.wait(60) == 130
        yes.kill()
    until(lambda: not runs(pid), "the command lives")


def test_wrong_use(shared):
    for arguments, code in [
        (("ssh", "nobody"), 5),
        (("connect", "nobody"), 5),
        (("connect", "worker"), 1),  # a scripted agent has no terminal
        (("ssh",), 2),
        (("ssh", "--machine", "x"), 1),
        (("ssh", "worker", "--detach-key", "f1"), 2),
        (("connect", "worker", "--id", "xyz"), 3),
    ]:
        screen = shared.terminal(*arguments)
        assert screen.wait() == code, (arguments, screen.seen)


@pytest.mark.pi
def test_connect_lands_in_the_live_pi_and_leaves_it_running(house, pi):
    program = house.start(PI_PROGRAM.replace("IDLE_TIMEOUT", "900"), **pi)
    screen = house.terminal("connect", "worker")
    screen.resize(120, 40)
    screen.expect("scripted")  # the model's name, in the last line of pi's screen
    screen.type("are you there?\r")
    screen.expect("Hello, I am the script.")
    screen.type("\x02d")
    screen.expect("[detached")
    assert screen.wait() == 0
    assert house.ramure("send", "worker", "more", "--id", program.id).code == 0
    assert program.process.poll() is None


QUIT_PROGRAM = """
import asyncio
from ramure import AgentDied, agent, agent_process, current_runtime, wait
from ramure.testing import ScriptedModel

@agent_process
async def main():
    worker = await agent("worker", on_failure="ON_FAILURE")
    print("ready", current_runtime().id, flush=True)
    try:
        return await wait()
    except AgentDied:
        await asyncio.sleep(1000)

async def run():
    async with ScriptedModel(["x"]) as model:
        with model.use():
            await main()

asyncio.run(run())
"""


@pytest.mark.pi
@pytest.mark.parametrize(
    ("on_failure", "follows"),
    [
        ("fail", "its process 'main' fails with AgentDied"),
        ("ignore", "the run goes on without it"),
        ("restart", "the run starts it again"),
    ],
)
def test_quitting_pi_says_what_follows(house, pi, on_failure, follows):
    program = house.start(QUIT_PROGRAM.replace("ON_FAILURE", on_failure), **pi)
    screen = house.terminal("connect", "worker")
    screen.resize(120, 40)
    screen.expect("scripted")  # the model's name, in the last line of pi's screen
    screen.type("/quit")
    screen.expect("/quit")
    screen.type("\r")
    screen.expect(f"the program of worker has ended: {follows}")
    assert screen.wait() == 0
    assert program.process.poll() is None


@pytest.mark.pi
def test_the_end_of_the_run_is_told_to_who_is_connected(house, pi):
    house.start(QUIT_PROGRAM.replace("ON_FAILURE", "fail"), **pi)
    screen = house.terminal("connect", "worker")
    screen.expect("scripted")
    house.ramure("stop")
    screen.expect("has ended: ")  # the program or the run: it is a matter of milliseconds
    assert screen.wait() == 0


@pytest.mark.pi
def test_connect_works_inside_a_persons_own_tmux(house, pi, until):
    house.start(PI_PROGRAM.replace("IDLE_TIMEOUT", "900"), **pi)
    tmux = ["tmux", "-S", str(house.folder / "own.sock"), "-f", "/dev/null"]
    command = f"{sys.executable} -m ramure connect worker; echo came back with $?; sleep 1000"
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "120", "-y", "40", "sh", "-c", command],
        env=house.env,
        check=True,
    )

    def shown():
        done = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, check=True)
        return done.stdout.decode()

    try:
        until(lambda: "scripted" in shown(), "pi is not shown")
        keys = [*tmux, "send-keys", "-t", ":"]
        subprocess.run([*keys, "-l", "are you there?"], check=True)
        subprocess.run([*keys, "Enter"], check=True)
        until(lambda: "Hello, I am the script." in shown(), "pi does not answer")
        subprocess.run([*keys, "C-\\"], check=True)  # the second prefix of ramure's own tmux
        subprocess.run([*keys, "d"], check=True)
        until(lambda: "came back with 0" in shown(), "it did not detach")
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)


@pytest.mark.pi
def test_a_connected_person_keeps_the_process_from_being_idle(house, pi):
    program = house.start(PI_PROGRAM.replace("IDLE_TIMEOUT", "3"), **pi)
    screen = house.terminal("connect", "worker")
    screen.expect("scripted")
    time.sleep(5)
    assert program.process.poll() is None
    screen.type("\x02d")
    assert screen.wait() == 0
    assert program.process.wait(60) == 1
    assert "AgentIdle" in program.output.read_text()


ELSEWHERE = """
import asyncio
from ramure import agent, agent_process, current_runtime, wait
from ramure.harness import Session
from ramure.testing.harness import ScriptedHarness
from ramure.values import Terminal

class Seen(Session):
    # A scripted agent with something to look at.
    terminal = Terminal(("sh", "-c", 'echo "screen of $WHO"; exec cat'), {"WHO": "worker"})
    def __init__(self, session):
        self.wait, self.screen, self.stop = session.wait, session.screen, session.stop
    wait = screen = stop = None

class Harness(ScriptedHarness):
    async def start(self, machine, spec, route):
        return Seen(await super().start(machine, spec, route))

@agent_process
async def main():
    worker = await agent("worker", harness=Harness())
    worker.machine.here = False  # as if it were far away
    print("ready", current_runtime().id, flush=True)
    return await wait()

asyncio.run(main())
"""


def test_connect_reaches_an_agent_elsewhere_through_the_run(house):
    program = house.start(ELSEWHERE)
    screen = house.terminal("connect", "worker")
    screen.expect("ctrl-\\ leaves it")
    screen.expect("screen of worker")
    screen.type("echoed\r")
    screen.expect("echoed")
    screen.type("\x1c")
    screen.expect("detached")
    assert screen.wait() == 0
    [worker] = house.ramure("status", "--json").json["process"]["agents"]
    assert worker["status"] == "idle"
    assert program.process.poll() is None
