"""Commands by asyncio alone, in a shell as the others run them."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

from commands import measure, report


async def output(command):
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


async def main():
    report(await measure(output, ""), await measure(output, ", relay"))


asyncio.run(main())
