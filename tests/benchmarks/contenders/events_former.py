"""Emitting events and reading them: ramure 0.0.3, whose runtime and agents have a log."""

import asyncio

from events import measure

from ramure import agent_process, current_runtime


@agent_process
async def main():
    log = current_runtime().log
    await measure(log.emit, log.stream)


asyncio.run(main())
