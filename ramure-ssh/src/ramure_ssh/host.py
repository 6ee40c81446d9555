"""What is done on a host itself: making, finding and removing machines."""

from __future__ import annotations

import re

import anyio
from anyio import BrokenResourceError

from ramure._exec import Capture
from ramure._work import to_end
from ramure.errors import LinkBroken, MachineError, UsageError
from ramure.values import ExecResult
from ramure_ssh.connection import Connection
from ramure_ssh.process import SSHProcess
from ramure_ssh.script import BOOT, call, new_word

_WORD = re.compile(r"[A-Za-z0-9._-]+")

LIMIT = 10_000_000
"""Bytes that a host may say."""


async def ask(
    connection: Connection, function: str, *arguments: str, ends_within: float = 0.0
) -> ExecResult:
    """Call a function of ``host.sh`` and give what it says.

    Args:
        connection: to the host.
        function: its name.
        arguments: its arguments.
        ends_within: seconds that its end is awaited where this is cancelled. The host goes on with
            what it has been told; what is to undo that must not come first.

    Raises:
        LinkBroken, SSHError: the host could not be asked, or its answer was not heard.
    """
    session = await connection.start(BOOT)
    process = SSHProcess(connection, "", session, _nothing)
    word = new_word()
    out, err = Capture(LIMIT), Capture(LIMIT)
    try:
        await process.begin([f'echo "{word} ok $$";{call(function, *arguments)}'], word)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(out.read, process.stdout)
            tasks.start_soon(err.read, process.stderr)
            code = await process.wait()
            with anyio.move_on_after(5):
                await out.ended.wait()
                await err.ended.wait()
            tasks.cancel_scope.cancel()
    except BrokenResourceError as error:
        raise LinkBroken(f"the connection to {connection.where} broke") from error
    except anyio.get_cancelled_exc_class():
        if ends_within:
            await to_end(session.ended.wait, ends_within)
        raise
    finally:
        session.close()
    return ExecResult(function, code, out.data(), err.data())


async def _nothing(_: int | None) -> bool:
    """What only asks starts nothing that would have to be killed."""
    return True


async def remove(connection: Connection, folder: str, mark: str, machine: str) -> None:
    """Kill all that a machine runs, and remove its folder. Idempotent; takes no session.

    Raises:
        UsageError: there can be no machine in this folder.
        MachineError: something could not be killed or removed.
        LinkBroken, SSHError: the host is out of reach for good.
    """
    if not folder.endswith(f"/machines/{machine}") or not _WORD.fullmatch(machine + mark):
        raise UsageError(f"{folder!r} is no folder of a machine")
    await connection.reach()
    said = await connection.warden.remove(machine, mark)
    if said is None:
        raise LinkBroken(f"{connection.where} is out of reach", machine=machine)
    if said:
        raise MachineError(said, machine=machine)
