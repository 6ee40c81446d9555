"""Images whose C library is musl: a tool set of their own, or a refusal that names the cure."""

import os

import pytest

import docker_engine
import docker_images
import parts
from ramure import AgentStartFailed, agent, agent_process
from ramure.harnesses.pi import portable
from ramure.testing._contract_equip import Greeter
from ramure_docker import DockerImage

MUSL = DockerImage("ramure-test/musl", network="none")


@pytest.fixture
def host(own_engine):
    """An engine of this test's own, whose tool sets are nobody else's, with an image of musl."""
    loader = f"/lib/ld-musl-{os.uname().machine}.so.1"  # by which it is told
    docker_engine.add_image(own_engine.url, MUSL.reference, docker_images.bare([(loader, "")]))
    return own_engine.host


async def test_a_set_of_its_own(host, make, backend, tmp_path):
    """Beside that of glibc."""
    tools = Greeter(tmp_path / "set", name="greeter-musl")
    for image in (DockerImage(docker_engine.BARE, network="none"), MUSL):
        box = await make(image, host=host, tools=tools)
        await box.equip(tools)
        hello = [f"{box.tool_folder(tools)}/bin/hello"]
        assert (await box.exec(hello, check=True)).stdout == "hello\n"
        await box.destroy()
    assert [platform.libc for platform in tools.platforms] == ["glibc", "musl"]
    assert len(await backend.remove_caches(host)) == 2


@pytest.mark.pi
@pytest.mark.usefixtures("home")
async def test_a_refusal(host, monkeypatch):
    """Where this computer's programs do not run there: no Node.js that npm has does."""
    monkeypatch.setenv("RAMURE_PI", parts.pi_package())
    monkeypatch.setattr(portable, "_is_own", lambda platform: False)

    @agent_process(image=MUSL, host=str(host))
    async def main():
        await agent("worker")

    with pytest.raises(AgentStartFailed, match=r"it has musl.*npm install -g"):
        await main()
