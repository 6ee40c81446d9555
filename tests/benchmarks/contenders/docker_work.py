"""What is measured of containers, the same for each contender."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

IMAGE = "ramure-test/node"
COMMANDS, LIVES, LARGE = (int(word) for word in sys.argv[1:])
MUCH = "head -c 10000000 /dev/zero | tr '\\0' x"
FILE = os.urandom(1 << 20) * 50
SMALL = 10_000_000


async def measure(box, kind=""):
    """Commands, their output, and files, on a container that is there."""
    taken = {}
    await box.output("true")
    start = time.perf_counter()
    for _ in range(COMMANDS):
        await box.output("true")
    taken[f"a command{kind}"] = (time.perf_counter() - start) / COMMANDS
    start = time.perf_counter()
    assert len(await box.output(MUCH)) == 10_000_000
    taken[f"10 MB of output{kind}"] = time.perf_counter() - start
    await box.output("rm -f /tmp/file")
    os.sync()  # what was written before is nobody's here
    start = time.perf_counter()
    await box.put("/tmp/file", FILE)
    taken[f"50 MB there{kind}"] = time.perf_counter() - start
    start = time.perf_counter()
    assert len(await box.get("/tmp/file")) == len(FILE)
    taken[f"50 MB back{kind}"] = time.perf_counter() - start
    return taken


async def growth(box, kind=""):
    """How much more memory a large file takes than a small one: the most at any moment."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        there, back = Path(folder) / "there", Path(folder) / "back"
        taken = {}
        for size in (SMALL, LARGE):
            with there.open("wb") as file:
                file.truncate(size)
            taken[size] = [
                await at_most(box.upload(there, "/tmp/large")),
                await at_most(box.download("/tmp/large", back)),
            ]
            assert back.stat().st_size == size
    ways = zip(("there", "back"), taken[SMALL], taken[LARGE], strict=True)
    return {f"memory for more {way}{kind}": max(0, large - small) for way, small, large in ways}


async def at_most(work):
    """Bytes that this process grows by at most meanwhile; Linux alone tells."""
    before = forget_peak()
    await work
    return peak() - before


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


async def lives(make):
    """Containers made and removed, one after the other."""
    start = time.perf_counter()
    for _ in range(LIVES):
        box = await make()
        await box.remove()
    return {"made and removed": (time.perf_counter() - start) / LIVES}


def report(*measured):
    """What the benchmark reads."""
    print(json.dumps({what: taken for part in measured for what, taken in part.items()}))
