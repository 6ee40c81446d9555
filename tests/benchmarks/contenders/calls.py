"""What is measured around the calls of a crowd of agents, the same for each contender."""

import json
import resource
import sys
import time

WARM_UP = 3
"""Calls of each agent before those that count."""


def sizes():
    """How many agents, and how many calls of each; and room for all the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16384)), hard))
    return int(sys.argv[1]), int(sys.argv[2])


async def measure(crowd, make):
    """Make the agents one after the other, then let them call; give what each took, in seconds.

    Args:
        crowd: the agents.
        make: makes agent number so and so; returns when it has registered.
    """
    agents, calls = sizes()
    start = time.perf_counter()
    for number in range(agents):
        await make(number)
    made = time.perf_counter() - start
    await crowd.call(WARM_UP)
    cpu = time.process_time()
    called = await crowd.call(calls)
    cpu = time.process_time() - cpu
    return {
        f"agent made, {agents}": made / agents,
        f"call, {agents}": called / agents / calls,
        f"call's CPU, {agents}": cpu / agents / calls,
    }


def report(measured):
    """What the benchmark reads."""
    print(json.dumps(measured))
