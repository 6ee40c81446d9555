"""What a program may write, what Modal is told of it, and what a person is told of its answer."""

import asyncio
import os
import re
import subprocess
import sys

import anyio
import modal
import pytest

from ramure.errors import MachineGone, MachineStartFailed, PlacementError
from ramure.placement import resolve_placement
from ramure.plugins import Plugins
from ramure.values import Host, MachineRef
from ramure_modal import plugin
from ramure_modal.backend import ModalBackend
from ramure_modal.checks import cloud as check
from ramure_modal.errors import ImageBuildFailed
from ramure_modal.image import ModalImage

LABELS = {"ramure.run": "r", "ramure.owner": "0@here"}


# --- without Modal


def test_the_plugin_imports_no_sdk():
    code = (
        "import sys, ramure; from ramure import ModalImage; from ramure.plugins import Plugins;"
        "Plugins.load().reader('modal'); assert 'modal' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("image", "host", "source", "where"),
    [
        ("modal:python:3.12", None, "python:3.12", "modal"),
        ("modal:", None, None, "modal"),
        (None, "modal", None, "modal"),
        ("im-123", "modal://my-app", "im-123", "modal://my-app"),
        (ModalImage("debian:12"), None, "debian:12", "modal"),
    ],
)
def test_what_a_program_may_write(image, host, source, where):
    place = resolve_placement(image, host, inherited=None, plugins=Plugins.of(modal=plugin))
    assert place.backend == "modal"
    assert place.image.source == source
    assert [str(it) for it in place.hosts] == [where]


@pytest.mark.parametrize(
    ("image", "host"),
    [("modal:no good", None), (None, "modal+x://app"), (None, "modal://a/b"), (None, "modal://")],
)
def test_what_it_may_not(image, host):
    with pytest.raises(PlacementError):
        resolve_placement(image, host, inherited=None, plugins=Plugins.of(modal=plugin))


# --- what Modal is told


async def test_every_option_arrives(make, cloud):
    image = ModalImage(
        "bare:1",
        workdir="/work",
        env={"GREETING": "hello"},
        cpu=(0.5, 2.0),
        memory=(256, 1024),
        timeout=1234,
        idle_timeout=99,
        region="us-east",
        cloud="aws",
        outbound_domain_allowlist=["example.org"],
        volumes={"/data": modal.Volume.from_name("data")},
        secrets=["mine"],
        options={"verbose": True},
    )
    machine = await make(image)
    told = cloud("definition", sandbox=machine.sandbox.object_id)
    for part in (
        "timeout_secs: 1234", "idle_timeout_secs: 99", 'regions: "us-east"', "verbose: true",
        'cloud_provider_str: "aws"', 'allowed_domains: "example.org"', "memory_mb: 256",
        "memory_mb_max: 1024", "milli_cpu: 500", "milli_cpu_max: 2000", 'mount_path: "/data"',
        'secret_ids: "st-mine"',
    ):  # fmt: skip
        assert part in told
    assert (await machine.exec("echo $GREETING; pwd")).stdout == "hello\n/work\n"


def told_image(told):
    return re.search(r'image_id: "(im-\w+)"', told)[1]


async def test_with_graphics(make, backend, cloud):
    """The SDK makes such sandboxes, and asks for them, by calls of their own."""
    image = ModalImage("python:3.12", workdir="/work", gpu="H100:2", env={"GREETING": "hello"})
    machine = await make(image, name="graphics")
    assert machine.relay is not None
    told = cloud("definition", sandbox=machine.sandbox.object_id)
    assert 'gpu_type: "H100"' in told
    assert "count: 2" in told
    assert (await machine.exec("echo $GREETING")).stdout == "hello\n"
    (ref,) = await backend.find(LABELS, host=Host("modal"))
    assert (await (await backend.attach(ref)).exec("pwd")).stdout == "/work\n"
    await backend.destroy(ref)
    assert not cloud.alive()
    with pytest.raises(MachineGone):
        await machine.exec("true")


async def test_a_python_is_added(make, cloud):
    machine = await make(ModalImage("bare:1", add_python="3.12"))
    said = (await machine.exec(["python"])).stdout
    assert re.fullmatch(r"python-build-standalone\.\d+\.3\.12\.\d+-gnu\n", said)


async def test_networks_and_registries_arrive(make, cloud):
    image = ModalImage(
        "python:3.12",
        outbound_cidr_allowlist=["10.1.0.0/16"],
        registry_secret=modal.Secret.from_dict(
            {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "word"}
        ),
    )
    machine = await make(image)
    told = cloud("definition", sandbox=machine.sandbox.object_id)
    assert 'allowed_cidrs: "10.1.0.0/16"' in told
    assert "registry_auth_type: REGISTRY_AUTH_TYPE_STATIC_CREDS" in cloud(
        "specification", image=told_image(told)
    )


async def test_no_network_at_all(make, cloud):
    machine = await make(ModalImage("python:3.12", block_network=True))
    assert "BLOCKED" in cloud("definition", sandbox=machine.sandbox.object_id)
    assert machine.relay is not None
    shown = await machine.exec("cat /proc/net/dev | wc -l")
    assert shown.stdout.strip() == "3"  # two lines of headings, and the loopback


async def test_an_image_of_the_users_own(make):
    image = modal.Image.from_registry("python:3.12").run_commands("echo built >/built")
    machine = await make(ModalImage(image.env({"FLAVOUR": "own"})))
    assert (await machine.exec("cat /built; echo $FLAVOUR")).stdout == "built\nown\n"


async def test_an_image_is_built_once(make, cloud):
    await make(ModalImage("python:3.12"), name="a")
    before = cloud("calls").get("ImageJoinStreaming", 0)
    await make(ModalImage("python:3.12", cpu=1), name="b")
    assert cloud("calls").get("ImageJoinStreaming", 0) == before


async def test_it_carries_its_tags_from_the_first_moment(make, backend, cloud):
    machine = await make(name="tagged")
    (shown,) = cloud.alive(**{"ramure.name": "tagged"})
    assert shown["tags"]["ramure.run"] == "r"
    assert shown["tags"]["ramure.owner"] == "0-here"
    found = await backend.find({"ramure.run": "r"}, host=Host("modal"))
    assert [(ref.name, ref.data["sandbox"]) for ref in found] == [
        ("tagged", machine.sandbox.object_id)
    ]
    assert await backend.find({"ramure.run": "other"}, host=Host("modal")) == []
    assert await backend.find({"ramure.run": "r"}, host=Host("modal", None, "no-such-app")) == []


async def test_an_app_of_ones_own(backend, cloud):
    host = Host("modal", None, "my-app")
    machine = await backend.provision(ModalImage("bare:1"), host, name="m", labels=LABELS)
    assert await backend.find({"ramure.run": "r"}, host=Host("modal")) == []
    (ref,) = await backend.find({"ramure.run": "r"}, host=host)
    await backend.destroy(ref)
    assert not cloud.alive()
    await machine.destroy()


async def test_another_process_attaches_and_destroys(make, backend, cloud):
    machine = await make()
    other = ModalBackend()
    attached = await other.attach(machine.ref)
    assert (await attached.exec("echo still here; pwd")).stdout == "still here\n/work\n"
    await other.destroy(machine.ref)
    await other.destroy(machine.ref)
    assert not cloud.alive()
    with pytest.raises(MachineGone):
        await other.attach(machine.ref)
    with pytest.raises(MachineGone):
        await machine.exec("true")
    await other.aclose()


async def test_destroyed_by_its_name_alone(make, backend, cloud):
    await make(name="nameless")
    await backend.destroy(MachineRef("modal", "nameless"))
    assert not cloud.alive()


# --- what goes wrong


async def test_an_image_that_cannot_be_pulled(make):
    with pytest.raises(ImageBuildFailed, match="manifest unknown"):
        await make(ModalImage("missing:1"))


async def test_an_image_that_cannot_be_built(make, cloud):
    image = modal.Image.from_registry("python:3.12").run_commands("echo the reason >&2; exit 7")
    with pytest.raises(ImageBuildFailed, match=r"(?s)the reason.*exited with 7") as caught:
        await make(ModalImage(image))
    assert "the reason" in caught.value.log
    assert not cloud.alive()


@pytest.mark.parametrize(
    ("method", "status", "words"),
    [
        ("SandboxCreateV2", "RESOURCE_EXHAUSTED", "limits are used up.*ramure gc"),
        ("SandboxCreateV2", "UNAUTHENTICATED", "modal token new"),
        ("AppGetOrCreate", "UNAUTHENTICATED", "MODAL_TOKEN_ID"),
        ("SandboxCreateV2", "INVALID_ARGUMENT", "refuses.*for a test"),
    ],
)
async def test_modal_refuses(make, cloud, method, status, words):
    cloud("fault", method=method, status=status)
    with pytest.raises(MachineStartFailed, match=f"(?s){words}"):
        await make()


async def test_the_first_command_fails(make, cloud):
    cloud("fault", method="TaskExecStart", status="INVALID_ARGUMENT")
    with pytest.raises(MachineStartFailed):
        await make()
    assert not cloud.alive()


async def test_a_sandbox_that_does_not_come_up(make, cloud):
    cloud("fault", method="TaskExecStart", delay=60.0)
    with pytest.raises(MachineStartFailed, match=r"within 0\.5 s.*start_timeout"):
        await make(ModalImage("python:3.12", start_timeout=0.5))
    assert not cloud.alive()


async def test_a_lifetime_that_modal_does_not_grant(make):
    with pytest.raises(MachineStartFailed, match="86400"):
        await make(ModalImage("python:3.12", timeout=100_000))


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.4])
async def test_cancelled_while_it_is_made(make, cloud, moment):
    await make(ModalImage("bare:2"), name="before")  # the image is there
    cloud("fault", method="SandboxCreateV2", delay=0.2)
    task = asyncio.ensure_future(make(name="cancelled"))
    await anyio.sleep(moment)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [it["name"] for it in cloud.alive()] == ["before"]


async def test_cancelled_while_it_waits_for_graphics(make, cloud):
    """There may be no room for long: Modal has taken the order, and says no more."""
    cloud("fault", method="SandboxGetTaskId", delay=600.0)
    making = asyncio.ensure_future(make(ModalImage("bare:1", gpu="T4")))
    while not cloud.alive():
        await anyio.sleep(0.05)
    making.cancel()
    await asyncio.wait([making], timeout=60)  # which leaves it alone
    assert making.done()
    assert making.cancelled()
    assert not cloud.alive()


NO_TOKEN = """
import anyio
from ramure_modal.backend import ModalBackend
from ramure_modal.checks import cloud
from ramure_modal.image import ModalImage
from ramure.values import Host

async def main():
    for problem in await cloud():
        print(problem)
    try:
        await ModalBackend().provision(ModalImage(), Host("modal"), name="m", labels={})
    except Exception as error:
        print(type(error).__name__, error)

anyio.run(main)
"""


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}, "modal token new"),
        ({"MODAL_SERVER_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
    ids=["no token", "no network"],
)
def test_modal_cannot_be_used(emulator, env, words):
    done = subprocess.run(
        [sys.executable, "-c", NO_TOKEN],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    problem, error = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert words in problem
    assert error.startswith("MachineStartFailed")
    assert words in error


async def test_doctor_has_nothing_to_say(cloud):
    assert await check() == []
