"""``options=`` and what is mounted: added to what ramure needs, never instead of it."""

import pytest

from ramure.errors import PlacementError
from ramure_docker import DockerImage

SHELL = "ramure-test/shell"

MORE = {
    "tmpfs": {"tmpfs": {"/scratch": ""}},
    "a list of tmpfs": {"tmpfs": ["/scratch:size=1m"]},
    "binds": {"binds": ["/tmp:/here:ro"]},
    "a mapping of binds": {"binds": {"/tmp": {"bind": "/here", "mode": "ro"}}},
    "mounts": {"mounts": [{"Type": "tmpfs", "Target": "/scratch"}]},
}


@pytest.mark.parametrize("options", MORE.values(), ids=MORE)
async def test_what_is_mounted_is_added(make, api, options):
    """Whatever is, the run's own folder is in memory and no snapshot has it."""
    volumes = {"/etc": "/there:ro"}
    box = await make(DockerImage(SHELL, read_only=True, volumes=volumes, options=options))
    assert (await box.exec("test -e /there && test -e /here || test -e /scratch")).ok
    assert (await box.exec("stat -f -c %T /run/ramure")).stdout == "tmpfs\n"
    assert api.inspect_container(box.name)["HostConfig"]["AutoRemove"]


async def test_no_key_is_in_a_snapshot(make, api):
    box = await make(DockerImage(SHELL, options={"tmpfs": {"/scratch": ""}}))
    await box.write_file(f"{box.state_dir}/secret", "of the run")
    image = await box.snapshot()
    try:
        again = await make(image)
        assert (await again.exec("cat /run/ramure/*/secret")).stdout == ""
        await again.destroy()
    finally:
        api.remove_image(image.reference)


REFUSED = {
    "auto_remove": ({"options": {"auto_remove": False}}, "auto_remove.*lease"),
    "what has a name": ({"options": {"mem_limit": "1g"}}, "memory="),
    "an unknown option": ({"options": {"nonsense": 1}}, "takes no 'nonsense'"),
    "an unknown part of a mount": ({"mounts": [{"foo": 1}]}, "foo"),
    "no size": ({"memory": "lots"}, "lots"),
    "no size of shm": ({"shm": "x"}, "x"),
    "over the state folder": ({"volumes": {"mine": "/run/ramure"}}, "the run's own"),
    "within the state folder": ({"volumes": {"mine": "/run/ramure/x:ro"}}, "the run's own"),
    "a tmpfs over it": ({"options": {"tmpfs": ["/run/ramure/"]}}, "the run's own"),
    "a mount over it": (
        {"mounts": [{"type": "volume", "source": "mine", "target": "/run/ramure"}]},
        "the run's own",
    ),
}


@pytest.mark.parametrize(("how", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_makes_no_sense_is_refused(make, api, how, words):
    """Before anything is pulled."""
    with pytest.raises(PlacementError, match=words):
        await make(DockerImage("ramure-test/none", **how))
    assert api.containers(all=True, filters={"label": f"ramure.run={make.run}"}) == []


@pytest.mark.parametrize("memory", ["100m", "300m"])
async def test_little_memory_is_the_commands_own(make, memory):
    """No relay takes it unless somebody asks for one."""
    box = await make(DockerImage("ramure-test/node", memory=memory))
    assert bool(box._raising) == (memory == "300m")
