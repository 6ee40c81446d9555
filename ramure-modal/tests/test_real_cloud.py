"""What only Modal's cloud can show. Runs with a token, by itself; costs some cents:

    RAMURE_TEST_MODAL=1 .venv/bin/pytest ramure-modal/tests/test_real_cloud.py

* that a sandbox is given what it asks for, and how long that takes: scheduling, regions, limits,
  GPUs;
* that ``/dev/shm`` is in memory, and so in no snapshot;
* that a command leads a process group and that ``/proc/*/environ`` shows marks, under gVisor;
* that a terminal's size is changed by ``stty`` from outside;
* that the watchdog's end ends the sandbox, and its bill;
* that tags take what we put into them, and that lists show them at once;
* builds from real registries, and the caching of the tool set's layers.
"""

import os
import secrets

import pytest

from ramure.values import Host, PtySize
from ramure_modal.backend import ModalBackend
from ramure_modal.image import ModalImage

TOKEN = os.environ.get("RAMURE_TEST_MODAL")
HANGS = 600

pytestmark = pytest.mark.skipif(
    not TOKEN, reason="RAMURE_TEST_MODAL=1, with a token, tests against Modal's own cloud"
)


@pytest.fixture
async def machine(ramure_home):
    backend = ModalBackend()
    name = f"ramure-smoke-{secrets.token_hex(4)}"
    image = ModalImage("node:22-bookworm", workdir="/work", timeout=HANGS, lease=60)
    made = await backend.provision(
        image, Host("modal", None, "ramure-smoke"), name=name, labels={"ramure.run": name}
    )
    yield made
    await made.destroy()
    assert await backend.find({"ramure.run": name}, host=Host("modal", None, "ramure-smoke")) == []
    await backend.aclose()


async def test_a_sandbox_in_the_cloud(machine):
    assert machine.relay is not None
    assert machine.facts.memory == "/dev/shm"
    assert (await machine.exec("echo $((6 * 7))")).stdout == "42\n"
    assert (await machine.plain.exec("exit 3")).exit_code == 3
    assert (await machine.plain.exec("setsid sleep 1000 & sleep 1000", timeout=5)).timed_out
    assert (await machine.exec("pgrep -c sleep")).stdout == "0\n"
    async with await machine.plain.open_process(["sleep", "1000"]) as process:
        await process.signal(15)
        assert await process.wait() == -15
    async with await machine.open_process(["stty", "size"], pty=PtySize(101, 33)) as terminal:
        assert b"33 101" in await terminal.stdout.receive()
    await machine.write_file("kept", "x" * 5_000_000)
    image = await machine.snapshot()
    assert image.source.startswith("im-")
