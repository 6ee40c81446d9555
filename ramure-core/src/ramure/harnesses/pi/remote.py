"""pi on a machine that is not this computer: where it is there, and giving it the bridge."""

from __future__ import annotations

import json
from importlib.resources import as_file, files

import anyio

from ramure.errors import AgentStartFailed
from ramure.harnesses.pi.toolset import PACKAGE, TESTED, Tools, is_tested, numbers
from ramure.machine import Machine
from ramure.toolset import ToolSet

_FIND = """\
missing() { echo "$1 is not installed" >&2; exit 1; }
tmux=$(command -v tmux) || missing tmux
node=$(command -v node) || missing Node.js
pi=${RAMURE_PI:-$(command -v pi)}
[ -n "$pi" ] || missing pi
exec "$node" -e "$1" "$pi" "$2" "$tmux"
"""

FIND_WITHIN = 30.0
"""Seconds that a machine may take to say where pi is."""
PUT_WITHIN = 120.0
"""Seconds that copying the bridge, some 50 kB, to a machine may take."""


async def locate(machine: Machine, tools: ToolSet) -> Tools:
    """The tools on a machine that has been equipped: those that were brought, else its own.

    Raises:
        AgentStartFailed: something is missing there, or too old.
        MachineError: the machine could not be asked.
    """
    folder = machine.tool_folder(tools)
    if folder is None:
        return await find(machine)
    about = json.loads(await machine.read_file(f"{folder}/pi.json"))
    tmux = f"{folder}/bin/tmux" if about["tmux"] else await _find_tmux(machine)
    return Tools(f"{folder}/{tools.node}", f"{folder}/{about['cli']}", about["version"], tmux)


async def _find_tmux(machine: Machine) -> str:
    done = await machine.exec(["sh", "-c", "command -v tmux"], timeout=FIND_WITHIN)
    if not done.ok:
        raise AgentStartFailed(
            f"machine {machine.name!r} has no tmux, and this computer's cannot be brought to it: "
            "install tmux there"
        )
    return done.stdout.strip()


async def find(machine: Machine) -> Tools:
    """The tool set that is already on a machine: on its PATH, or pi where its ``RAMURE_PI`` says.

    Raises:
        AgentStartFailed: something is missing there, or too old.
        MachineError: the machine could not be asked.
    """
    look = (files("ramure.harnesses.pi") / "scripts" / "find.js").read_text("utf-8")
    done = await machine.exec(["sh", "-c", _FIND, "sh", look, PACKAGE], timeout=FIND_WITHIN)
    if not done.ok:
        said = done.stderr.strip().splitlines() or ["it does not answer"]
        why = next((line for line in said if line.startswith("Error: ")), said[-1])
        raise AgentStartFailed(f"pi cannot be started on machine {machine.name!r}: {why}")
    found = json.loads(done.stdout)
    if not found["named"] and not is_tested(found["version"]):
        raise AgentStartFailed(
            f"machine {machine.name!r} has pi {found['version']}, which ramure does not know: it "
            f"works with {TESTED[0]} to {TESTED[-1]}"
        )
    if numbers(found["has"]) < numbers(found["needs"]):
        raise AgentStartFailed(
            f"machine {machine.name!r} has pi {found['version']}, which needs Node.js "
            f"{found['needs']}, and Node.js {found['has']}"
        )
    return Tools(found["node"], found["cli"], found["version"], found["tmux"])


async def put_bridge(machine: Machine) -> str:
    """Put the bridge onto a machine and give the path that pi loads it by.

    Raises:
        AgentStartFailed: it takes too long.
        MachineError: it could not be put there.
    """
    folder = f"{machine.state_dir}/bridge"
    with as_file(files("ramure.harnesses.pi") / "bridge") as bridge:
        with anyio.move_on_after(PUT_WITHIN) as patience:
            await machine.upload(bridge, folder)
    if patience.cancelled_caught:
        raise AgentStartFailed(f"the bridge could not be put there within {PUT_WITHIN:g} s")
    return f"{folder}/index.ts"
