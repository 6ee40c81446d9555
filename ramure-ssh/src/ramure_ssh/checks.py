"""What ``ramure doctor`` looks at on the SSH hosts that were used lately."""

from __future__ import annotations

import anyio
from anyio import to_thread

from ramure.errors import MachineError
from ramure.values import Problem
from ramure_ssh import host, known
from ramure_ssh.connection import Connection
from ramure_ssh.login import Login

PATIENCE = 20.0
"""Seconds that a host may take to answer all questions."""

CURES = {
    "kills": Problem(
        "ends a user's processes when their last session ends, agents too (KillUserProcesses)",
        "in its /etc/systemd/logind.conf, say KillUserProcesses=no, or name the account in "
        "KillExcludeUsers=; then: systemctl restart systemd-logind",
    ),
}


async def hosts() -> list[Problem]:
    """Everything that is wrong with the hosts of this computer's latest runs."""
    logins = await to_thread.run_sync(known.read)
    found: list[list[Problem]] = []
    async with anyio.create_task_group() as tasks:
        for login in logins:
            problems: list[Problem] = []
            found.append(problems)
            tasks.start_soon(_look, login, problems)
    return [problem for problems in found for problem in problems]


async def _look(login: Login, problems: list[Problem]) -> None:
    where = f"ssh://{login.address}"
    try:
        with anyio.fail_after(PATIENCE):
            said = await _ask(login)
    except MachineError as error:
        problems.append(Problem(str(error)))
    except TimeoutError:
        problems.append(
            Problem(f"{where} does not answer", f"see whether `ssh {where}` gets there")
        )
    else:
        known_words = [CURES[word] for word in said if word in CURES]
        problems += [Problem(f"{where} {one.what}", one.cure) for one in known_words]


async def _ask(login: Login) -> list[str]:
    connection = Connection(login, patience=PATIENCE, max_sessions=2)
    await connection.open()
    try:
        return (await host.ask(connection, "doctor")).stdout.split()
    finally:
        await connection.aclose()
