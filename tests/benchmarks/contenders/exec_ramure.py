"""Commands on the local machine, plain and through the relay: this project."""

import asyncio

from commands import measure, report

from ramure import agent_process, machine
from ramure.relay import RelayedMachine


@agent_process
async def main():
    plain = await machine()
    relayed = await RelayedMachine.over(await machine())
    try:
        report(
            await measure(lambda command: output(plain, command), ""),
            await measure(lambda command: output(relayed, command), ", relay"),
        )
    finally:
        await relayed.relay.aclose()


async def output(where, command):
    return (await where.exec(command, check=True)).stdout


asyncio.run(main())
