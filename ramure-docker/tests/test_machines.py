"""What machines can be told to be, many at once, and images made of them."""

import anyio

from ramure_docker import DockerImage

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
    assert (await box.exec("echo x >/scratch/x")).exit_code in {0, 1}
    said = api.inspect_container(box.name)
    limits = said["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (500_000_000, 100 << 20)
    assert (limits["PidsLimit"], limits["ShmSize"]) == (200, 10 << 20)
    assert limits["OomScoreAdj"] == 100
    assert said["Config"]["Labels"]["mine"] == "yes"
