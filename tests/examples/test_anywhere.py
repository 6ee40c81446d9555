"""examples/anywhere.py: the same process on every kind of machine; only its arguments change.

On each, the real pi asks the scripted model, which is on this computer. What agents elsewhere have
of this computer's pi folder is what ramure gives them: the models and one key.
"""

import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import docker_engine
import parts
import ports
import ssh_servers
from modal_emulator.client import Emulator, missing
from ramure.testing import ScriptedModel, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.pi]


def script(what):
    """The agent runs a command and tells what it prints."""
    return [
        ToolCall("bash", command=f"echo found $({what})"),
        lambda request: ToolCall("finish", report=request.results[0].text.strip()),
        "Goodbye.",
    ]


def lead_to(model, folder, url):
    """A pi folder of this computer whose models are at another address."""
    model.pi_folder(folder)
    models = folder / "models.json"
    models.write_text(models.read_text().replace(model.url, url))
    return {"PI_CODING_AGENT_DIR": str(folder)}


async def test_on_this_computer(house):
    async with ScriptedModel(script("pwd")) as model:
        ended = await house.run("anywhere", model=model)
    assert ended.code == 0, ended.err
    assert ended.out == f"Linux {os.uname().machine} in {house.work}\n\nfound {house.work}\n"


async def test_in_another_folder(house, tmp_path):
    async with ScriptedModel(script("pwd")) as model:
        ended = await house.run("anywhere", "--image", tmp_path, "--host", "local", model=model)
    assert ended.code == 0, ended.err
    assert ended.last == f"found {tmp_path}"


@pytest.fixture
def engine(tmp_path_factory):
    """The engine of the tests that bring tools, for this one alone."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    try:
        with (
            docker_engine.shared(Path(folder) / "docker-sets") as engine,
            docker_engine.alone(engine),
        ):
            yield engine
    except docker_engine.Missing as error:
        parts.lacking(str(error))


async def test_in_a_container(house, engine, tmp_path):
    """The image has a shell and nothing else: pi comes with ramure."""
    async with (
        ScriptedModel(script("ls /; cat /etc/hostname")) as model,
        ports.on_the_bridge(engine, model, tmp_path / "model.sock") as url,
    ):
        env = lead_to(model, tmp_path / "pi", url) | {"DOCKER_HOST": engine.url}
        image = "docker:ramure-test/node"
        ended = await house.run("anywhere", "--image", image, model=model, **env)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"Linux {os.uname().machine} in /\n\nfound ")
    assert os.uname().nodename not in ended.last


@asynccontextmanager
async def ssh_host(folder, me):
    """A host that this home knows as ``box``."""
    if ssh_servers.find_sshd() is None:
        parts.lacking("there is no sshd: install openssh-server (as root, make test does)")
    for path in (folder, me):
        path.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as there,
        ssh_servers.server(folder, there, env=parts.pi_environment()) as server,
    ):
        server.client(me)
        yield Path(there)


async def test_on_a_computer_that_one_can_log_in_to(house, tmp_path):
    me = tmp_path / "me"
    async with ssh_host(tmp_path / "sshd", me) as there:
        async with ScriptedModel(script("echo $HOME")) as model:
            ended = await house.run(
                "anywhere", "--host", "ssh://box", model=model, HOME=str(me), SSH_AUTH_SOCK=""
            )
        assert ended.code == 0, ended.err
        assert ended.out.endswith(f" in {there}\n\nfound {there}\n")
        assert not (there / ".ramure" / "machines").exists()


@pytest.fixture
def cloud():
    """Modal, emulated; no sandbox runs afterwards."""
    if problem := missing():
        parts.lacking(problem)
    with Emulator() as emulator:
        yield emulator
        assert not emulator.alive()


async def test_in_a_sandbox_of_a_cloud(house, cloud):
    async with ScriptedModel(script("pwd")) as model:
        cloud("internet", ports=[int(model.url.rpartition(":")[2])])
        words = ("--host", "modal", "--image", "python:3.12")
        ended = await house.run("anywhere", *words, model=model, **cloud.env)
    assert ended.code == 0, ended.err
    assert ended.last.startswith("found /")
    assert str(house.work) not in ended.out


async def test_a_host_that_is_none(house):
    async with ScriptedModel(["x"]) as model:
        ended = await house.run("anywhere", "--host", "dokcer", model=model)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("failed: ")
    assert "dokcer" in ended.err
    assert "docker" in ended.err
