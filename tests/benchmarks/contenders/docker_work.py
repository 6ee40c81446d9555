"""What is measured of containers, the same for each contender."""

import json
import os
import sys
import time

IMAGE = "ramure-test/node"
COMMANDS, LIVES = (int(word) for word in sys.argv[1:])
MUCH = "head -c 10000000 /dev/zero | tr '\\0' x"
FILE = os.urandom(1 << 20) * 50


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
    start = time.perf_counter()
    await box.put("/tmp/file", FILE)
    taken[f"50 MB there{kind}"] = time.perf_counter() - start
    start = time.perf_counter()
    assert len(await box.get("/tmp/file")) == len(FILE)
    taken[f"50 MB back{kind}"] = time.perf_counter() - start
    return taken


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
