"""Commands and round trips in a sandbox: the SDK alone."""

import asyncio
import sys
import time

import modal
from commands import measure, report


async def main():
    start = time.perf_counter()
    app = await modal.App.lookup.aio("bench", create_if_missing=True)
    image = await modal.Image.from_registry("python:3.12").build.aio(app)
    sandbox = await modal.Sandbox.create.aio("sleep", "600", app=app, image=image)
    await output(sandbox, "true")
    made = time.perf_counter() - start
    try:
        report(
            {"a sandbox made": made},
            await measure(lambda command: output(sandbox, command), ""),
            await measure(lambda command: output(sandbox, command), ", without the relay"),
            {"a round trip": await round_trip(sandbox)},
        )
    finally:
        await sandbox.terminate.aio()


async def output(sandbox, command):
    process = await sandbox.exec.aio("bash", "-c", command, text=False)
    said, _, code = await asyncio.gather(
        process.stdout.read.aio(), process.stderr.read.aio(), process.wait.aio()
    )
    assert code == 0
    return said


async def round_trip(sandbox):
    times = int(sys.argv[1])
    process = await sandbox.exec.aio("cat", text=False)
    answers = aiter(process.stdout)

    async def once():
        process.stdin.write(b"x" * 100)
        await process.stdin.drain.aio()
        await anext(answers)

    await once()
    start = time.perf_counter()
    for _ in range(times):
        await once()
    taken = (time.perf_counter() - start) / times
    process.stdin.write_eof()
    await process.stdin.drain.aio()
    return taken


asyncio.run(main())
