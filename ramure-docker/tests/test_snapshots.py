"""Images made of containers: what is in them, what is not, and what gc removes."""

from contextlib import contextmanager

import pytest

from ramure import agent_process, machine
from ramure.values import Host
from ramure_docker import DockerImage

SHELL = "ramure-test/shell"


@contextmanager
def removed(api, *references):
    """These images are gone afterwards."""
    try:
        yield
    finally:
        for reference in references:
            api.remove_image(reference, force=True)


async def test_a_snapshot(make, api):
    box = await make(DockerImage(SHELL, env={"TOKEN": "sesame"}))
    await box.exec("echo kept >/tmp/kept", check=True)
    await box.write_file(f"{box.state_dir}/secret", "of the run")
    image = await box.snapshot("ramure-test/snapshot:tried")
    with removed(api, "ramure-test/snapshot:tried"):
        assert (await box.exec("echo goes on")).ok
        config = api.inspect_image("ramure-test/snapshot:tried")["Config"]
        assert "sesame" not in str(config)
        assert make.run not in str(config)
        again = await make(image)
        assert (await again.exec("cat /tmp/kept; echo $TOKEN")).stdout == "kept\nsesame\n"
        assert (await again.exec("cat /run/ramure/*/secret")).stdout == ""
        await again.destroy()


async def test_a_snapshot_is_an_image_as_any_other(make, api):
    """Whoever runs it gets the command that is asked for, and not the guard."""
    box = await make(DockerImage(SHELL))
    image = await box.snapshot()
    with removed(api, image.reference):
        config = api.inspect_image(image.reference)["Config"]
        assert not config["Entrypoint"]
        assert not config["OpenStdin"]
        made = api.create_container(image.reference, ["printf", "as asked"])
        try:
            api.start(made)
            assert api.wait(made)["StatusCode"] == 0
            assert api.logs(made) == b"as asked"
        finally:
            api.remove_container(made, force=True)


async def test_what_the_image_says_is_kept(make, api, engine):
    """Its entry point, command and health check do not run in the machine, but stay the image's."""
    said = ['ENTRYPOINT ["echo", "from"]', 'CMD ["afar"]', "HEALTHCHECK CMD true", "LABEL a=b"]
    made = api.create_container(SHELL, "true")
    api.commit(made, "ramure-test/says", changes="\n".join(said))
    api.remove_container(made)
    with removed(api, "ramure-test/says"):
        box = await make(DockerImage("ramure-test/says", pull="never"))
        image = await box.snapshot()
        with removed(api, image.reference):
            config = api.inspect_image(image.reference)["Config"]
            assert (config["Entrypoint"], config["Cmd"]) == (["echo", "from"], ["afar"])
            assert config["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
            assert config["Labels"]["a"] == "b"
        await box.destroy()


async def test_a_name_with_a_port(make, api):
    box = await make()
    image = await box.snapshot("localhost:5000/me/box:tag")
    with removed(api, "localhost:5000/me/box:tag"):
        assert image.reference == "localhost:5000/me/box:tag"
    image = await box.snapshot("localhost:5000/me/box")
    with removed(api, "localhost:5000/me/box:latest"):
        await (await make(image)).destroy()


@pytest.mark.usefixtures("docker_host", "home", "volumes_alone")
async def test_a_snapshot_of_a_fork_is_kept(api, backend):
    """And a fork of a snapshot is not."""

    @agent_process(image=f"docker:{SHELL}")
    async def main():
        box = await machine()
        other = await box.fork()
        image = await other.snapshot("ramure-test/snapshot:kept")
        again = await machine(image=image)
        await again.fork()

    await main()
    with removed(api, "ramure-test/snapshot:kept"):
        gone = await backend.remove_caches(Host("docker"))
        images = [it for it in gone if it.startswith("sha256:")]  # not others' tool sets
        assert len(images) == 1, "the other is part of it"
        assert api.inspect_image("ramure-test/snapshot:kept")
    await backend.remove_caches(Host("docker"))
    assert not api.images(filters={"label": "ramure.fork=true"}, all=True)


@pytest.mark.usefixtures("docker_host", "home", "volumes_alone")
async def test_a_fork_whose_image_is_removed(api, backend, monkeypatch):
    """By somebody's gc, before there is a container of it: it is made again."""
    from ramure_docker import machine as module

    snapshot, removals = module.snapshot, []

    async def snapshot_and_removal(*args, **options):
        image = await snapshot(*args, **options)
        if not removals:
            removals.append(await backend.remove_caches(Host("docker")))
        return image

    monkeypatch.setattr(module, "snapshot", snapshot_and_removal)

    @agent_process(image=f"docker:{SHELL}")
    async def main():
        box = await machine()
        await box.exec("echo one >/tmp/file", check=True)
        return (await (await box.fork()).exec("cat /tmp/file")).stdout

    assert await main() == "one\n"
    assert len(removals[0]) == 1
    await backend.remove_caches(Host("docker"))


@pytest.mark.usefixtures("docker_host", "home", "volumes_alone")
async def test_a_fork(api, backend):
    @agent_process(image="docker:ramure-test/shell")
    async def main():
        box = await machine()
        await box.exec("echo one >/tmp/file", check=True)
        other = await box.fork()
        await other.exec("echo two >>/tmp/file", check=True)
        return (await box.exec("cat /tmp/file")).stdout, (await other.exec("cat /tmp/file")).stdout

    assert await main() == ("one\n", "one\ntwo\n")
    assert len(await backend.remove_caches(Host("docker"))) == 1
    assert not api.images(filters={"label": "ramure.fork=true"}, all=True)
