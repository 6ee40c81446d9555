"""Much output and large files: carried whole, in memory that does not grow with them."""

import os
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from ramure.relay.amounts import LARGE as BESIDE
from ramure_docker import DockerImage

HANGS = 150
MUCH, LARGE = 50_000_000, 150_000_000
FLAT = 32_000_000
"""Bytes: what carrying any amount may take."""


@contextmanager
def flat():
    """Nothing in it takes much memory of this process at any moment."""
    Path("/proc/self/clear_refs").write_text("5")  # from now on the most that it has had
    before = peak()
    with anyio.fail_after(HANGS):
        yield
    assert peak() - before < FLAT


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.fixture(params=["plain", "relayed"])
async def machine(make, request):
    if request.param == "plain":
        return await make(DockerImage("ramure-test/shell", network="none"))
    machine = await make(DockerImage("ramure-test/node", network="none"))
    await machine.start_relay()
    return machine


async def test_much_output(machine):
    """What is beyond ``max_output`` is read, and thrown away."""
    command = f"head -c {MUCH} /dev/zero; head -c 5000000 /dev/zero >&2; exit 3"
    with flat():
        result = await machine.exec(command, max_output=1000)
    assert (len(result.stdout_bytes), len(result.stderr_bytes)) == (1000, 1000)
    assert result.truncated
    assert result.exit_code == 3


async def test_a_large_file(machine, tmp_path):
    """Sparse where it comes from, whole where it goes."""
    there, back = tmp_path / "there", tmp_path / "back"
    with there.open("wb") as file:
        file.truncate(LARGE)
        file.seek(LARGE - 3)
        file.write(b"end")
    with flat():
        await machine.upload(there, "/tmp/file")
    assert (await machine.exec("wc -c </tmp/file; tail -c 3 /tmp/file")).stdout == f"{LARGE}\nend"
    with flat():
        await machine.download("/tmp/file", back)
    with back.open("rb") as file:
        assert file.seek(-3, os.SEEK_END) == LARGE - 3
        assert file.read() == b"end"
    back.unlink()


@pytest.mark.parametrize("size", [BESIDE - 1, BESIDE, BESIDE + 1, 3 * BESIDE])
async def test_a_large_file_as_bytes(machine, size):
    data = os.urandom(size)
    await machine.write_file("/tmp/file", data)
    assert await machine.read_file("/tmp/file") == data
    with pytest.raises(OSError, match=f"larger than max_bytes={size - 1}"):
        await machine.read_file("/tmp/file", max_bytes=size - 1)


async def test_much_from_a_pipe(machine):
    """It cannot be read a second time."""
    await machine.exec(f"mkfifo /tmp/pipe; head -c {2 * BESIDE} /dev/zero >/tmp/pipe &")
    with anyio.fail_after(HANGS):
        assert len(await machine.read_file("/tmp/pipe")) == 2 * BESIDE
