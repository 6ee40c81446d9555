"""Commands and round trips in a sandbox: this project, with a relay and without one."""

import asyncio
import sys
import time

from commands import measure, report

from ramure import agent_process, machine


@agent_process(image="modal:python:3.12", timeout=600)
async def main():
    start = time.perf_counter()
    box = await machine()
    made = time.perf_counter() - start
    report(
        {"a sandbox made": made},
        await measure(lambda command: output(box, command), ""),
        await measure(lambda command: output(box.plain, command), ", without the relay"),
        {"a round trip": await round_trip(box)},
    )


async def output(where, command):
    return (await where.exec(command, check=True)).stdout


async def round_trip(box):
    times = int(sys.argv[1])
    async with await box.open_process(["cat"]) as process:
        await process.stdin.send(b"x" * 100)
        await process.stdout.receive()
        start = time.perf_counter()
        for _ in range(times):
            await process.stdin.send(b"x" * 100)
            await process.stdout.receive()
        return (time.perf_counter() - start) / times


asyncio.run(main())
