# /// script
# requires-python = ">=3.11"
# dependencies = ["ramure[all]>=0.1"]
# ///
"""The same process on any machine: only ``image=`` and ``host=`` change.

An agent looks around on its machine and tells what it has found. Whether that is this computer, a
container, a computer that you can log in to or a sandbox in a cloud, nothing else in the program
knows.

    uv run anywhere.py
    uv run anywhere.py --image docker:python:3.12
    uv run anywhere.py --host ssh://me@box
    uv run anywhere.py --host modal --image python:3.12
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from ramure import RamureError, agent, agent_process, done, fail, wait

PATIENCE = 900
"""Seconds for everything, the making of the machine included."""


async def look_around() -> tuple[str, str]:
    """Have the machine looked at; give what the program sees itself, and the agent's report."""
    scout = await agent("scout", nudge="Call finish, or give_up.")
    system = await scout.exec("uname -sm; pwd", check=True)

    @scout.on("finish")
    async def finish(report: str) -> str:
        """Call with what you have found."""
        done(report)
        return "Recorded."

    @scout.on("give_up")
    async def give_up(reason: str) -> str:
        """Call if it cannot be found out."""
        fail(reason)
        return "Recorded."

    await scout.send(
        "Find out which machine you work on: its system, its processors and memory, which "
        "languages and tools it has. Change nothing. Call finish(report) with ten lines at most."
    )
    report: str = await wait()
    return " in ".join(system.stdout.split("\n")[:2]), report


def main() -> int:
    """Read the command line, look around there, print the report."""
    parser = argparse.ArgumentParser(description="Let an agent look around on a machine.")
    parser.add_argument("--host", help="where: local, docker, ssh://me@box, modal; else here")
    parser.add_argument("--image", help="what the machine starts from, as the host reads it")
    given = parser.parse_args()
    process = agent_process(image=given.image, host=given.host, timeout=PATIENCE)(look_around)
    try:
        system, report = asyncio.run(process())
    except RamureError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"{system}\n\n{report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
