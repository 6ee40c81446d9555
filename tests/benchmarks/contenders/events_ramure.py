"""Emitting events and reading them: this project."""

import asyncio

from events import measure

from ramure import agent_process, current_process, emit


@agent_process
async def main():
    await measure(emit, current_process().events)


asyncio.run(main())
