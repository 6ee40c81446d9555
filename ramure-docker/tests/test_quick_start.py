"""The quick start, with the real pi in a real tmux in a container, whatever its network is."""

import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import parts
from docker_engine import GATEWAY
from ports import FORWARD, port_on_the_bridge, socket_to
from quick_start import run_task
from ramure import agent_process
from ramure.testing import ScriptedModel, ToolCall
from ramure.values import Host
from ramure_docker import DockerImage

pytestmark = pytest.mark.pi

HANGS = 150


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


async def test_in_an_image_that_has_nothing(
    volumes_alone, docker_host, api, backend, home, image, way, tmp_path, monkeypatch, capfd
):
    """pi, Node.js and tmux come from a volume, which is made once."""
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
        assert await task("Again.") == "42 /work"
    assert capfd.readouterr().err.count("into a volume") == 1
    [volume] = await backend.remove_caches(Host("docker"))
    assert volume.startswith("ramure-tools-pi-")


def nothing_is_left(api, home):
    assert not list((home / "runtimes").iterdir())
    [logs] = (home / "logs").iterdir()
    started = [json.loads(line) for line in (logs / "_runtime.jsonl").read_text().splitlines()]
    run = logs.name
    assert started
    assert api.containers(all=True, filters={"label": f"ramure.run={run}"}) == []
