"""What is measured around the calls of a crowd of agents, the same for each contender."""

import json
import os
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

    The first agent is apart: with it comes all that a program does once, from the start of its
    interpreter on. Whether a contender imports what it needs at its own import or later makes no
    difference then.

    Args:
        crowd: the agents.
        make: makes agent number so and so; returns when it has registered and has its tool.
    """
    agents, calls = sizes()
    await make(0)
    first = time.time() - float(os.environ["BENCH_STARTED"]) - crowd.starting
    start, cpu = time.perf_counter(), time.process_time()
    for number in range(1, agents):
        await make(number)
    made, made_cpu = time.perf_counter() - start, time.process_time() - cpu
    await crowd.call(WARM_UP)
    cpu = time.process_time()
    called = await crowd.call(calls)
    cpu = time.process_time() - cpu
    if agents == 1:
        making = {"from the start to the first agent": first}
    else:
        making = {
            f"agent made, {agents}": made / (agents - 1),
            f"agent's CPU, {agents}": made_cpu / (agents - 1),
        }
    return {
        **making,
        f"call, {agents}": called / agents / calls,
        f"call's CPU, {agents}": cpu / agents / calls,
    }


def report(measured):
    """What the benchmark reads."""
    print(json.dumps(measured))
