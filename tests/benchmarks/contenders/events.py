"""What is measured of an event log, the same for each contender."""

import json
import sys
import time
from statistics import median

DATA = {
    "task": "t0042",
    "summary": "It is done, and well done; nothing is left to do." * 2,
    "n": 42,
}


RECENT = 500
"""So many events are in memory, whatever is kept there."""

AGAIN = 100
"""Times that these are read: one takes 0.1 ms, which anything disturbs."""


async def measure(emit, stream):
    """Emit events and read them, the first few while they are recent; print what each took."""
    events = int(sys.argv[1])
    measured = {}
    if stream is not None:
        for _ in range(RECENT):
            emit("finished", DATA)
        measured["an event read"] = median([await read(stream, RECENT) for _ in range(AGAIN)])
    start = time.perf_counter()
    for _ in range(events):
        emit("finished", DATA)
    measured["an event emitted"] = (time.perf_counter() - start) / events
    if stream is not None:
        measured[f"an event read, of {events}"] = await read(stream, events)
    print(json.dumps(measured))


async def read(stream, events):
    """Read so many events from the first on; the seconds that each took."""
    start = time.perf_counter()
    count = 0
    async for _ in stream:
        count += 1
        if count == events:
            break
    return (time.perf_counter() - start) / events
