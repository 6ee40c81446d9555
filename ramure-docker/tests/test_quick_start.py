"""The quick start, with the real pi in a real tmux in a container, whatever its network is."""

import json
import os
import secrets
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

import parts
from docker_engine import GATEWAY
from ports import FORWARD, port_on_the_bridge, socket_to
from quick_start import run_task
from ramure import AgentDied, agent, agent_process, machine, wait
from ramure.testing import Hang, ScriptedModel, ToolCall
from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.backend import DockerBackend
from screens import visit

pytestmark = pytest.mark.pi

HANGS = 150
HELLO = "Hello, I am the script."


@pytest.fixture
def pi():
    """The folder of npm packages with a pi, and its Node.js."""
    return Path(parts.pi_package()).parents[1]


@pytest.fixture
def image(pi, tmp_path):
    """An image with tmux; pi and its settings are mounted."""
    (tmp_path / "settings").mkdir()
    [node] = pi.glob("node-linux-*/bin")
    return {
        "reference": "ramure-test/node",
        "workdir": "/work",
        "volumes": {str(pi): "/pi/node_modules:ro", str(tmp_path / "settings"): "/settings"},
        "env": {
            "RAMURE_PI": "/pi/node_modules/@earendil-works/pi-coding-agent",
            "PATH": f"/pi/node_modules/{node.parent.name}/bin:/usr/bin:/bin",
            "PI_CODING_AGENT_DIR": "/settings",
        },
    }


def lead_to(model, url, settings):
    """pi finds the model at ``url``."""
    model.pi_folder(settings)
    models = settings / "models.json"
    models.write_text(models.read_text().replace(model.url, url))


@pytest.fixture
async def way(tmp_path):
    """Make a socket whose every connection leads to the model."""
    path = str(tmp_path / "model.sock")

    @asynccontextmanager
    async def leading_to(model):
        async with socket_to(model, path):
            yield path

    return leading_to


def quick_start(image, ready=None):
    """The program of the README, at work in a container."""

    task = agent_process(image=DockerImage(**image), timeout=HANGS)(run_task)
    return partial(task, prepare=ready)


SCRIPT = [
    ToolCall("bash", command="echo $((6 * 7)) $(pwd)"),
    lambda request: ToolCall("finish", summary=request.results[0].text.strip()),
    "Goodbye.",
]


async def test_on_a_bridge(engine, docker_host, api, home, image, way, tmp_path):
    async with (
        ScriptedModel(SCRIPT) as model,
        way(model) as path,
        port_on_the_bridge(engine, path) as port,
    ):
        lead_to(model, f"http://{GATEWAY}:{port}", tmp_path / "settings")
        assert await quick_start(image)("Sum it.") == "42 /work"
    nothing_is_left(api, home)


PORT = 8080


def port_in_the_container(path, node="node"):
    """Only for the model there is a port, within the container; a relay's socket leads there."""

    async def ready(machine):
        door = await machine.relay.open_door(path)
        forward = [node, "-e", FORWARD, door.path, "127.0.0.1", str(PORT)]
        process = await machine.open_process(forward)
        assert int(await process.stdout.receive()) == PORT

    return ready


async def test_without_a_network(docker_host, api, home, image, way, tmp_path):
    image["network"] = "none"
    async with ScriptedModel(SCRIPT) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")
        task = quick_start(image, port_in_the_container(path))
        assert await task("Sum it.") == "42 /work"
    nothing_is_left(api, home)


@pytest.fixture(params=[False, True], ids=["open", "internal"])
def network(request, api):
    """A network of the user's own; an internal one leads nowhere."""
    name = f"ramure-test-{secrets.token_hex(4)}"
    made = api.create_network(name, internal=request.param)
    yield name
    api.remove_network(made["Id"])


async def test_on_a_network_of_the_users_own(docker_host, api, home, image, way, tmp_path, network):
    image["network"] = network
    async with ScriptedModel(SCRIPT) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")
        task = quick_start(image, port_in_the_container(path))
        assert await task("Sum it.") == "42 /work"
    nothing_is_left(api, home)


async def test_on_the_engines_own_network(docker_host, api, home, image, way, tmp_path):
    """The tests' engine has a network of its own, too."""
    image["network"] = "host"
    async with ScriptedModel(SCRIPT) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")
        task = quick_start(image, port_in_the_container(path))
        assert await task("Sum it.") == "42 /work"
    nothing_is_left(api, home)


@pytest.fixture
def at_work(docker_host, api, home, image, way, tmp_path):
    """Let an agent work on what never ends, and do something to its container meanwhile."""
    image["network"] = "none"

    async def until(harm, said):
        async with ScriptedModel([Hang()]) as model, way(model) as path:
            lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")

            @agent_process(image=DockerImage(**image), timeout=HANGS)
            async def main():
                worker = await agent("worker")
                await port_in_the_container(path)(worker.machine)
                await worker.send("Go on for ever.")
                await model.wait_for(1)
                await harm(worker)
                return await wait()

            with pytest.raises(AgentDied, match=said):
                await main()

    return until


async def test_removed_while_an_agent_works(at_work, api, home):
    async def harm(worker):
        await to_thread.run_sync(partial(api.remove_container, worker.machine.name, force=True))

    await at_work(harm, "removed by hand")
    nothing_is_left(api, home)


async def test_paused_while_an_agent_works(at_work, api, home):
    async def harm(worker):
        await to_thread.run_sync(api.pause, worker.machine.name)

    await at_work(harm, "docker unpause")
    nothing_is_left(api, home)


# What the kernel takes first where memory is short: pi, which is its title.
FIRST = """for process in /proc/[0-9]*; do
  read -r name <"$process/comm" && [ "$name" = pi ] && echo 1000 >"$process/oom_score_adj"
done
head -c 800m /dev/zero | tail -c 700m | wc -c"""


async def test_out_of_memory_while_an_agent_works(at_work, api, home, image):
    image["memory"] = "600m"

    async def harm(worker):
        await worker.exec(FIRST)

    await at_work(harm, "out of memory")
    nothing_is_left(api, home)


WORKER = 1000
"""The number of the images' user ``worker``."""


async def test_as_a_user_who_is_no_root(docker_host, api, home, image, way, tmp_path):
    """What the agent makes is the user's."""
    image |= {"network": "none", "user": "worker", "workdir": "/home/worker"}
    script = [ToolCall("bash", command="echo made >file; stat -c '%U %n' $PWD/file"), *SCRIPT[1:]]
    async with ScriptedModel(script) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")
        for entry in (tmp_path / "settings", *(tmp_path / "settings").rglob("*")):
            os.chown(entry, WORKER, WORKER)
        task = quick_start(image, port_in_the_container(path))
        assert await task("Make it.") == "worker /home/worker/file"
    nothing_is_left(api, home)


async def test_a_person_visits(docker_host, api, home, image, way, tmp_path):
    """``ramure connect`` and ``ramure ssh``, without Docker's own command."""
    image["network"] = "none"
    async with ScriptedModel([HELLO]) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")

        @agent_process(image=DockerImage(**image), timeout=2 * HANGS)
        async def main():
            worker = await agent("worker")
            await port_in_the_container(path)(worker.machine)
            await visit("/work", HELLO)

        await main()
    nothing_is_left(api, home)


async def test_in_an_image_that_has_nothing(
    sets_alone, home, image, way, tmp_path, monkeypatch, capfd
):
    """pi, Node.js and tmux come from a volume, which is made once; then plain machines have it."""
    monkeypatch.setenv("DOCKER_HOST", sets_alone.url)
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    image |= {"reference": "ramure-test/bare", "network": "none"}
    image["env"] = {"PI_CODING_AGENT_DIR": "/settings"}
    image["volumes"] = {str(tmp_path / "settings"): "/settings"}

    async def ready(machine):
        [folder] = machine.mounted_tools.values()
        await port_in_the_container(path, f"{folder}/bin/node")(machine)

    async with ScriptedModel(SCRIPT) as model, way(model) as path:
        lead_to(model, f"http://127.0.0.1:{PORT}", tmp_path / "settings")
        task = quick_start(image, ready)
        assert await task("Sum it.") == "42 /work"
        assert await task("Again.", machine=machine) == "42 /work"
    assert capfd.readouterr().err.count("into a volume") == 1
    backend = DockerBackend()
    [volume] = await backend.remove_caches(Host("docker"))
    assert volume.startswith("ramure-tools-pi-")
    await backend.aclose()


def nothing_is_left(api, home):
    assert not list((home / "runtimes").iterdir())
    [logs] = (home / "logs").iterdir()
    started = [json.loads(line) for line in (logs / "_runtime.jsonl").read_text().splitlines()]
    run = logs.name
    assert started
    assert api.containers(all=True, filters={"label": f"ramure.run={run}"}) == []
