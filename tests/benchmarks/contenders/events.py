"""What is measured of an event log, the same for each contender."""

import json
import sys
import time

DATA = {
    "task": "t0042",
    "summary": "It is done, and well done; nothing is left to do." * 2,
    "n": 42,
}


async def measure(emit, stream):
    """Emit so many events, then read as many from the first on; print what each took."""
    events = int(sys.argv[1])
    start = time.perf_counter()
    for _ in range(events):
        emit("finished", DATA)
    emitted = time.perf_counter() - start
    measured = {"an event emitted": emitted / events}
    if stream is not None:
        start = time.perf_counter()
        read = 0
        async for _ in stream:
            read += 1
            if read == events:
                break
        measured["an event read"] = (time.perf_counter() - start) / events
    print(json.dumps(measured))
