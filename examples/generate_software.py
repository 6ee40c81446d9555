# /// script
# requires-python = ">=3.11"
# dependencies = ["ramure>=0.1", "anyio"]
# ///
"""Software generation, with a person's word midway.

An agent writes a small program with its tests into a folder. Where it has to know what you want, it
asks you here, in the terminal, and goes on with your answer. What it calls finished is tested by
this program, and sent back while the tests fail.

    uv run generate_software.py "a command that counts the words of a text file" --folder counter
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import anyio

from ramure import RamureError, agent, agent_process, done, fail, wait

TRIES = 5
"""So often the agent may say that it has finished while the tests fail."""

TASK = """\
Write, in your working directory, in Python and with the standard library alone: {what}.

Before you write, ask the person with ask_person(question) what you have to know, one question at a
time. Have tests in test_*.py that `python3 -m unittest` runs. When they pass, call finish(summary);
the tests are run then. If it cannot be done, call give_up(reason).
"""


async def ask_in_terminal(question: str) -> str:
    """What the person types; "" where nobody is there. Ctrl-C works meanwhile."""
    print(f"\n{question}\n> ", end="", flush=True)
    with suppress(PermissionError):  # a file, which has its lines at once
        await anyio.wait_readable(0)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as terminal:
        return terminal.readline().decode().strip()


async def write_software(what: str) -> str:
    """Have it written in the machine's folder; give the agent's summary."""
    writer = await agent("writer", nudge="Go on, or call finish or give_up.")
    failed = 0

    @writer.on("ask_person")
    async def ask_person(question: str) -> str:
        """Ask the person for whom you work; their answer is the result."""
        answer = await ask_in_terminal(question)
        return answer or "They have no answer. Decide yourself, and say how in your summary."

    @writer.on("finish")
    async def finish(summary: str) -> str:
        """Call when the program and its tests are written and pass."""
        nonlocal failed
        tests = await writer.exec(["python3", "-m", "unittest", "-v"], timeout=120)
        # unittest says 5 where it has found no test, and 0 before Python 3.12.
        if tests.ok and "Ran 0 tests" not in tests.stderr:
            done(summary)
            return "The tests pass. Thank you."
        failed += 1
        print(f"the tests failed ({failed} of {TRIES} times): back to the writer", flush=True)
        if failed == TRIES:
            fail(f"the tests still fail:\n{tests.stderr[-2000:]}")
        return f"The tests do not pass:\n{tests.stderr[-4000:]}"

    @writer.on("give_up")
    async def give_up(reason: str) -> str:
        """Call if it cannot be done."""
        fail(reason)
        return "Recorded."

    await writer.send(TASK.format(what=what))
    summary: str = await wait()
    return summary


def main() -> int:
    """Read the command line, have the software written, and list what there is."""
    parser = argparse.ArgumentParser(description="Have a small program written.")
    parser.add_argument("what", help="what the program is to do, in words")
    parser.add_argument("--folder", type=Path, default=Path("generated"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    program = agent_process(image=str(given.folder.resolve()), timeout=3600)(write_software)
    try:
        summary = asyncio.run(program(given.what))
    except RamureError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary}\n")
    for path in sorted(given.folder.rglob("*.py")):
        print(path)
    print(f"written and tested in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
