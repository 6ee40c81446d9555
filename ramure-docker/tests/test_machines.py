"""What machines can be told to be, many at once, and images made of them."""

import os

import anyio
import pytest
from docker.types import Ulimit

from ramure_docker import DockerImage
from ramure_docker.hostconfig import host_config

HANGS = 120


async def test_twenty_at_once(make, api):
    made = []

    async def one():
        made.append(await make())

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
        said = [(await box.exec(["uname", "-n"])).stdout for box in made]
        assert len(set(said)) == 20
        async with anyio.create_task_group() as tasks:
            for box in made:
                tasks.start_soon(box.destroy)


async def test_what_an_image_says_arrives(make, api, tmp_path):
    (tmp_path / "file").write_text("from here")
    tmp_path.chmod(0o755)
    image = DockerImage(
        "ramure-test/shell",
        workdir="/work",
        env={"GREETING": "hello world"},
        user="worker",
        cpus=0.5,
        memory="100m",
        pids=200,
        shm="10m",
        volumes={str(tmp_path): "/here:ro"},
        mounts=[{"type": "tmpfs", "target": "/scratch", "source": None}],
        network="none",
        extra_hosts={"elsewhere": "10.1.2.3"},
        labels={"mine": "yes"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        options={"oom_score_adj": 100},
    )
    box = await make(image)
    command = "pwd; id -un; echo $GREETING; cat /here/file; echo; grep -c elsewhere /etc/hosts"
    assert (await box.exec(command)).stdout.split("\n")[:5] == [
        *("/work", "worker", "hello world", "from here", "1")
    ]
    assert not (await box.exec("echo x >/tmp/x || echo x >/here/x")).ok
    assert (await box.exec("test -d /scratch && stat -f -c %T /scratch")).stdout == "tmpfs\n"
    said = api.inspect_container(box.name)
    limits = said["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (500_000_000, 100 << 20)
    assert (limits["PidsLimit"], limits["ShmSize"]) == (200, 10 << 20)
    assert limits["OomScoreAdj"] == 100
    assert (limits["CapDrop"], limits["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert limits["Init"], "unless it is turned off"
    assert not limits["Privileged"]
    assert said["Config"]["Labels"]["mine"] == "yes"
    assert "CapEff:\t0000000000000000" in (await box.exec("cat /proc/self/status")).stdout


async def test_more_of_what_an_image_says_arrives(make, api):
    image = DockerImage(
        "ramure-test/shell",
        volumes={"ramure-test-named": "/named"},
        dns=["10.9.8.7"],
        cap_add=["NET_ADMIN"],
        init=False,
        options={"ulimits": [Ulimit(name="nofile", soft=100, hard=200)]},
    )
    try:
        box = await make(image)
        await box.exec("echo kept >/named/file", check=True)
        limits = api.inspect_container(box.name)["HostConfig"]
        assert limits["Binds"] == ["ramure-test-named:/named"]
        assert (limits["Dns"], limits["CapAdd"]) == (["10.9.8.7"], ["NET_ADMIN"])
        assert limits["Init"] is False
        [given] = limits["Ulimits"]
        assert (given["Name"], given["Soft"], given["Hard"]) == ("nofile", 100, 200)
        # The soft one, too, where runc 1.1 is kept from its work for a moment.
        assert (await box.exec("ulimit -Hn")).stdout == "200\n"
        await box.destroy()
        another = await make(image)
        assert (await another.exec("cat /named/file")).stdout == "kept\n"
        await another.destroy()
    finally:
        api.remove_volume("ramure-test-named")


@pytest.mark.parametrize("reference", ["ramure-test/shell", "ramure-test/node"])
async def test_a_user_who_is_no_root(make, tmp_path, reference):
    """What is written and uploaded is the user's, through a relay and without."""
    image = DockerImage(reference, user="worker", workdir="/home/worker", network="none")
    machine = await make(image)
    if reference == "ramure-test/node":
        await machine.start_relay()
    (tmp_path / "tree/in").mkdir(parents=True)
    (tmp_path / "tree/in/file").write_text("x")
    (tmp_path / "tree/link").symlink_to("in/file")
    await machine.write_file("written", "x")
    await machine.write_file("made/written", "x")
    await machine.upload(tmp_path / "tree", "uploaded")
    await machine.upload(tmp_path / "tree/in/file", "file")
    await machine.exec("touch made/ran", check=True)
    owned = "stat -c %U:%G . written made made/* uploaded uploaded/* uploaded/in/file file"
    assert {*(await machine.exec(owned, check=True)).stdout.split()} == {"worker:worker"}
    as_root = "id -un; echo x >of-root; stat -c %U of-root"
    assert (await machine.exec(as_root, user="root")).stdout == "root\nroot\n"
    said = await machine.exec("id -un; id -gn", user="nobody:extra", cwd="/")
    assert said.stdout == "nobody\nextra\n"
    with pytest.raises(PermissionError):
        await machine.write_file("/root/file", "x")
    await machine.download("uploaded", tmp_path / "back")
    assert (tmp_path / "back/link").read_text() == "x"


async def test_a_tree_of_roots_own(make, tmp_path):
    """Whoever owns the files here, who unpacks them there owns them there."""
    (tmp_path / "file").write_text("x")
    os.chown(tmp_path / "file", 1000, 1000)
    machine = await make(DockerImage("ramure-test/shell", network="none"))
    await machine.upload(tmp_path, "/tmp/tree")
    assert (await machine.exec("stat -c %U:%G /tmp/tree /tmp/tree/file")).stdout == (
        "root:root\nroot:root\n"
    )


GPUS = {
    "all": {"count": -1},
    2: {"count": 2},
    ("one", "two"): {"device_ids": ["one", "two"]},
}


@pytest.mark.parametrize(("gpus", "said"), GPUS.items())
def test_gpus(gpus, said):
    """Nothing more can be tried where there are none."""
    asked = host_config(DockerImage("ramure-test/shell", gpus=gpus, privileged=True))
    assert asked["device_requests"] == [{"capabilities": [["gpu"]], **said}]
    assert asked["privileged"]
