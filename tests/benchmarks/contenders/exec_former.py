"""Commands on the local machine: ramure 0.0.3, which has no relay."""

import asyncio

from commands import measure, report

from ramure import agent_process, machine


@agent_process
async def main():
    plain = await machine()

    async def output(command):
        return (await plain.exec(command)).stdout

    report(await measure(output, ""), await measure(output, ", relay"))


asyncio.run(main())
