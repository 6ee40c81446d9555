"""``ramure bubblewrap COMMAND``."""

from __future__ import annotations

import secrets
import sys

import anyio

from ramure.values import Host
from ramure_bubblewrap.backend import BubblewrapBackend
from ramure_bubblewrap.image import BubblewrapImage


def run(command: list[str]) -> int:
    """Run a command in a new sandbox and give its exit code, as a shell does."""
    return anyio.run(_run, command)


async def _run(command: list[str]) -> int:
    name = f"cli-{secrets.token_hex(4)}"
    machine = await BubblewrapBackend().provision(
        BubblewrapImage(), Host("bubblewrap"), name=name, labels={"ramure.run": name}
    )
    try:
        result = await machine.exec(command)
    finally:
        await machine.destroy()
    sys.stdout.buffer.write(result.stdout_bytes)
    sys.stderr.buffer.write(result.stderr_bytes)
    code = result.exit_code
    assert code is not None  # there was no time-out
    return code if code >= 0 else 128 - code
