"""What is measured of commands, the same for each contender."""

import asyncio
import json
import sys
import time

MUCH = "head -c 10000000 /dev/zero | tr '\\0' x"
AT_ONCE = 20


async def measure(execute, kind):
    """Run commands of the shell by ``execute``, which gives their output; what each took."""
    commands = int(sys.argv[1])
    await execute("true")
    start = time.perf_counter()
    for _ in range(commands):
        await execute("true")
    one = (time.perf_counter() - start) / commands
    start = time.perf_counter()
    await asyncio.gather(*(execute("true") for _ in range(AT_ONCE)))
    many = (time.perf_counter() - start) / AT_ONCE
    start = time.perf_counter()
    assert len(await execute(MUCH)) == 10_000_000
    much = time.perf_counter() - start
    return {
        f"a command{kind}": one,
        f"one of {AT_ONCE} at once{kind}": many,
        f"10 MB of output{kind}": much,
    }


def report(*measured):
    """What the benchmark reads."""
    print(json.dumps({what: taken for part in measured for what, taken in part.items()}))
