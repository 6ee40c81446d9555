"""Whole programs with the real pi in the real tmux; only the model is played."""

import asyncio
import os
import signal

import anyio
import pytest

import parts
import quick_start
import ramure
from ramure import LocalImage, agent, agent_process, connect, done, wait
from ramure.testing import Fail, Hang, ScriptedModel, Text, ToolCall

pytestmark = pytest.mark.pi


@pytest.fixture(params=parts.PIS)
def pi(request, monkeypatch, ramure_home):
    """One of the two tool sets; missing, it fails in CI and says what to do elsewhere."""
    where = parts.pi_package(request.param)
    monkeypatch.setenv("RAMURE_PI", where)
    parts.share_compiled(ramure_home)
    return where


run_task = agent_process(timeout=120)(quick_start.run_task)


async def test_the_quick_start(pi, ramure_home):
    async with ScriptedModel([ToolCall("finish", summary="ten haikus"), "Bye."]) as model:
        with model.use():
            assert await run_task("Write 10 diverse haikus about git rebase.") == "ten haikus"
        assert {"finish", "give_up"} <= set(model.requests[0].tool_names)
    assert not list((ramure_home / "runtimes").iterdir())


async def test_giving_up(pi):
    async with ScriptedModel([ToolCall("give_up", reason="no rhyme")]) as model:
        with model.use(), pytest.raises(ramure.ProcessFailed, match="gave_up: no rhyme"):
            await run_task("Write.")


async def test_a_model_that_refuses_fails_the_process(pi):
    async with ScriptedModel([Fail(401, "bad key")]) as model:
        with model.use(), pytest.raises(ramure.ModelFailed, match="bad key"):
            await run_task("Write.")


UPPER = ["WORK", "CACHE", "KEEP", "LEASE", "STATE", "CODE", "FOLDER"]
NAMES = [*UPPER, *map(str.lower, UPPER), "name"]
"""Of variables that what starts pi might use itself."""


async def test_the_images_environment_reaches_pi(pi, tmp_path):
    from_image = dict.fromkeys(["FROM_IMAGE", *NAMES], "image value")
    from_agent = dict.fromkeys(["FROM_AGENT", *NAMES[::2]], "agent's $value")

    @agent_process(timeout=120)
    async def main():
        image = LocalImage(tmp_path, env=from_image)
        worker = await agent("worker", image=image, env=from_agent)

        @worker.on("finish")
        async def finish() -> None:
            done()

        await worker.send("Show your environment.")
        await wait()

    script = [ToolCall("bash", command="env -0 > seen; pwd > where"), ToolCall("finish")]
    async with ScriptedModel(script) as model:
        with model.use():
            await main()
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().split("\0") if line)
    assert (from_image | from_agent).items() <= seen.items()
    left = {name for name in seen if name.startswith("RAMURE_")}
    assert left <= {"RAMURE_AGENT", "RAMURE_MARKS", *os.environ}
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)


async def test_a_run_leaves_no_temporary_file(pi, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    script = [ToolCall("bash", command="echo $TMPDIR > seen"), ToolCall("finish", summary="x")]

    @agent_process(image=str(tmp_path), timeout=120)
    async def main():
        return await run_task("Look around.")

    async with ScriptedModel(script) as model:
        with model.use():
            assert await main() == "x"
    assert (tmp_path / "seen").read_text().strip() == str(tmp_path / "temporary")
    left = {p.name for p in (tmp_path / "temporary").iterdir()}
    assert not {name for name in left if not name.startswith("ramure-scripted")}


async def test_a_killed_pi_is_restarted_and_goes_on(pi):
    @agent_process(timeout=120)
    async def main():
        worker = await agent("worker", on_failure="restart")

        @worker.on("finish")
        async def finish(summary: str) -> None:
            done(summary)

        await worker.send("first")
        await worker.events.listen_for("idle", replay=True, timeout=60)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.events.listen_for("restarted", replay=True, timeout=60)
        await worker.send("second")
        return await wait()

    async with ScriptedModel([Text("hello"), ToolCall("finish", summary="after")]) as model:
        with model.use():
            assert await main() == "after"
        # pi may have told the model of its call's result, too, before it was ended.
        said = [message.text for message in model.requests[1].messages]
    assert said == ["first", "hello", "second"]


@pytest.mark.parametrize("before", [[], [ToolCall("bash", command="echo $((6 * 7))")]])
async def test_a_pi_that_is_killed_at_work_goes_on_with_it(pi, before):
    """Also where pi had not saved its conversation yet, as it does once the model has answered."""
    turns = [*before, Hang(), ToolCall("finish", summary="after")]

    @agent_process(timeout=120)
    async def main():
        worker = await agent("worker", on_failure="restart")

        @worker.on("finish")
        async def finish(summary: str) -> None:
            done(summary)

        await worker.send("the task")
        await model.wait_for(len(before) + 1)
        os.kill(worker.pid, signal.SIGKILL)
        result = await wait()
        resumed = await worker.events.listen_for("resumed", replay=True, timeout=0)
        return result, resumed.data

    async with ScriptedModel(lambda request: turns.pop(0) if turns else "Bye.") as model:
        with model.use():
            result, resumed = await main()
        said = [m.text for m in model.requests[len(before) + 1].messages if m.role == "user"]
    assert result == "after"
    assert said[0] == "the task"
    if before:
        assert [r.text.strip() for r in model.requests[2].messages[2].results] == ["42"]
        assert "restarted" in said[1]
        assert resumed == {"remembers": True, "messages": ["m2"]}
    else:
        assert said == ["the task"]
        assert resumed == {"remembers": False, "messages": ["m1"]}


async def test_a_pi_that_is_killed_in_a_tool_call_goes_on(pi):
    calls = []

    @agent_process(timeout=120)
    async def main():
        worker = await agent("worker", on_failure="restart")

        @worker.on("slow")
        async def slow() -> str:
            calls.append("slow")
            if len(calls) == 1:
                os.kill(worker.pid, signal.SIGKILL)
                await anyio.sleep_forever()
            return "slow result"

        @worker.on("finish")
        async def finish(summary: str) -> None:
            done(summary)

        await worker.send("the task")
        return await wait()

    turns = [ToolCall("slow"), ToolCall("slow"), ToolCall("finish", summary="after")]
    async with ScriptedModel(lambda request: turns.pop(0) if turns else "Bye.") as model:
        with model.use():
            assert await main() == "after"
        said = [m.text for m in model.requests[1].messages if m.role == "user"]
    assert calls == ["slow", "slow"]
    assert said[0] == "the task"
    assert "restarted" in said[1]


async def test_two_connected_agents(pi, tmp_path):
    """One sends the other a message and a file; the other reads both."""
    for name in ("writer", "reader"):
        (tmp_path / name).mkdir()
    (tmp_path / "writer" / "poem.txt").write_text("old pond\n")

    @agent_process(timeout=120)
    async def main():
        writer, reader = await asyncio.gather(
            agent("writer", image=str(tmp_path / "writer"), system_prompt="[script: writer]"),
            agent("reader", image=str(tmp_path / "reader"), system_prompt="[script: reader]"),
        )
        connect(writer, reader, direction="forward")

        @reader.on("finish")
        async def finish() -> None:
            done()

        await writer.send("Send your poem to the reader.")
        await wait()

    scripts = {
        "writer": [
            ToolCall("send_file", receiver="reader", path="poem.txt", dest_path="in/poem.txt"),
            ToolCall("message", receiver="reader", message="It is in in/poem.txt."),
            "Done.",
        ],
        "reader": [ToolCall("bash", command="cat in/poem.txt > copy.txt"), ToolCall("finish"), ""],
    }
    async with ScriptedModel(scripts) as model:
        with model.use():
            await main()
        heard = [r.messages[0].text for r in model.requests if "reader" in r.system]
    assert heard[0] == "[From: writer] It is in in/poem.txt."
    assert (tmp_path / "reader" / "copy.txt").read_text() == "old pond\n"


async def test_ask(pi):
    @agent_process(timeout=120)
    async def main():
        worker = await agent("worker")
        return await worker.ask("How many?", int)

    async with ScriptedModel([ToolCall("answer_1", answer=17), "Said."]) as model:
        with model.use():
            assert await main() == 17


async def test_gathered_processes_with_agents_of_one_name(pi):
    @agent_process(timeout=200)
    async def main():
        return await asyncio.gather(*(run_task(f"Number {n}.") for n in range(3)))

    def script(request):
        if request.results:
            return "Bye."
        return ToolCall("finish", summary=request.messages[0].text.splitlines()[2])

    async with ScriptedModel(script) as model:
        with model.use():
            assert await main() == ["Number 0.", "Number 1.", "Number 2."]


async def test_a_killed_tmux_server_is_noticed(pi):
    @agent_process(timeout=120)
    async def main():
        worker = await agent("worker")
        socket = str(worker.describe()["session"]["tmux_socket"])
        kill = await asyncio.create_subprocess_exec("tmux", "-S", socket, "kill-server")
        await kill.wait()
        with anyio.fail_after(30):
            await wait()
        return worker

    async with ScriptedModel(["unused"]) as model:
        with model.use(), pytest.raises(ramure.AgentDied):
            await main()
