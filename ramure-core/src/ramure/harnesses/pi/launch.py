"""What is put into an agent's state folder to start pi there.

    launch.sh     what the pane runs: reads ``settings``, starts pi, writes how it ended to ``exit``
    keeper.sh     runs beside pi on this computer: the last to notice that the program has ended
    end.sh        ends all that pi has started, and the keeper
    watch.sh      waits for the end of the launcher
    keys          the path of pi's own folder, where the agent has one (elsewhere): with a key, in
                  memory where the machine has such a place, else ``pi/`` beside it
    settings      what the launcher is told
    environment   pi's environment, as calls of ``give``; removed once it has been read
    bridge.json   the bridge's settings with the agent's token; removed by the bridge
    system.md     what is added to pi's system prompt
    alive         a FIFO that the launcher alone holds open: its end is the launcher's end
    started       the launcher holds ``alive``
    keeper        the keeper's process id
    exit          pi's exit code as the shell gives it
    session.jsonl pi's session; a restarted agent goes on with it

Everything is written by one shell that reads its script from stdin, so that nothing secret is ever
on a command line, and with a umask that keeps all of it to its owner.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Any

from ramure.errors import AgentStartFailed
from ramure.harnesses.pi.keys import Access
from ramure.harnesses.pi.toolset import Tools
from ramure.values import AgentSpec

MARK = "RAMURE_AGENT"
"""The variable by which all that pi starts is found again, whatever session it is in."""

OFFLINE = {"PI_OFFLINE": "1", "PI_SKIP_VERSION_CHECK": "1", "PI_TELEMETRY": "0"}
"""No connection of pi's own at its start; the model's is another matter."""

SCRIPTS = ("launch.sh", "keeper.sh", "end.sh", "watch.sh", "tmux.conf")


def mark(spec: AgentSpec) -> str:
    """The value of ``MARK`` for this incarnation of this agent."""
    return f"{spec.run}/{spec.address}/{spec.incarnation}"


def prepare(
    spec: AgentSpec,
    tools: Tools,
    address: str,
    *,
    cache: str,
    keep: bool,
    access: Access | None = None,
) -> str:
    """The script, to be read by ``sh -s``, that puts everything into the state folder.

    Args:
        spec: the agent.
        tools: where pi is on the machine.
        address: the route's, as the bridge dials it.
        cache: a folder for what pi compiles at its start, kept between runs where it can be.
        keep: see to pi's and its tmux server's end when this program has ended; only on this
            computer.
        access: what leads to its model, in a pi folder of the agent's own; None: the folder that
            pi finds on the machine.

    Raises:
        AgentStartFailed: the environment cannot be passed on.
    """
    bridge = {
        "address": address,
        "agent": spec.address,
        "token": spec.token,
        "lease": spec.lease,
        "version": tools.version,
        "model": spec.model or "",
    }
    environment = {
        **OFFLINE,
        **(access.env if access else {}),
        **spec.env,
        MARK: mark(spec),
        "RAMURE_BRIDGE": f"{spec.state_dir}/bridge.json",
    }
    settings = {
        "RAMURE_WORK": spec.cwd,
        "RAMURE_CACHE": cache,
        "RAMURE_KEEP": own_identity() if keep else "",
        # The bridge comes first, where it still can: it gives pi 3 s.
        "RAMURE_LEASE": str(math.ceil(spec.lease) + 3),
    }
    shipped = files("ramure.harnesses.pi") / "scripts"
    contents = {name: (shipped / name).read_text("utf-8") for name in SCRIPTS}
    contents["settings"] = "".join(f"{name}={quote(v)}\n" for name, v in settings.items())
    contents["environment"] = _gifts(environment, spec)
    contents["bridge.json"] = json.dumps(bridge)
    contents["system.md"] = spec.system_prompt or ""
    lines = ["set -eu", "umask 077", f"cd {quote(spec.state_dir)}", "rm -f exit alive started"]
    # printf is the shell's own: no process sees these as its arguments.
    lines += [_write(name, text) for name, text in contents.items()]
    lines += [f"name=ramure-{secrets.token_hex(16)}", (shipped / "keys.sh").read_text("utf-8")]
    if access is not None:
        lines += ["make_folder"]
        lines += [_write(f'"$folder"/{name}', text) for name, text in access.files.items()]
    return "\n".join([*lines, "mkfifo alive", ""])


def forget(spec: AgentSpec) -> list[str]:
    """The command that removes the agent's own pi folder, wherever that is, if there is one."""
    shipped = files("ramure.harnesses.pi") / "scripts" / "keys.sh"
    return ["sh", "-c", f'cd "$1" && {{ {shipped.read_text("utf-8")} }}', "sh", spec.state_dir]


def _write(name: str, text: str) -> str:
    return f"printf %s {quote(text)} >{name}"


def command(spec: AgentSpec, tools: Tools, extension: str) -> list[str]:
    """The command that starts pi, run in the state folder.

    Args:
        spec: the agent.
        tools: where pi is on the machine.
        extension: where the bridge is on the machine.
    """
    words = [tools.node, tools.cli, "--session", f"{spec.state_dir}/session.jsonl"]
    words += ["--extension", extension]
    if tools.at_least(0, 79, 0):
        words += ["--approve" if spec.options.get("approve") else "--no-approve"]
    if spec.system_prompt:
        words += ["--append-system-prompt", f"{spec.state_dir}/system.md"]
    if spec.model:
        words += ["--model", spec.model]
    if spec.options.get("thinking"):
        words += ["--thinking", str(spec.options["thinking"])]
    return [*words, *spec.options.get("flags", ())]


def refuse(options: Mapping[str, Any]) -> str:
    """What is wrong with the options of an agent, and the cure; nothing where all is well."""
    flags = options.get("flags", ())
    if not isinstance(flags, list | tuple) or not all(isinstance(flag, str) for flag in flags):
        return "flags= is a list of strings"
    if any(flag == "--api-key" or flag.startswith("--api-key=") for flag in flags):
        return (
            "a key among flags= can be read by everybody on the machine, as all arguments can: "
            "give it in env=, or to machines elsewhere as keys={'provider': key}"
        )
    return ""


def own_identity() -> str:
    """This program as ``pid:start``, which no later process has; without /proc ``pid:``."""
    try:
        fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(") ")[2].split()
    except OSError:
        return f"{os.getpid()}:"
    return f"{os.getpid()}:{fields[19]}"


def _gifts(env: Mapping[str, str], spec: AgentSpec) -> str:
    """What has the launcher give pi its environment, whatever its shell thinks of the names."""
    for name, value in env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise AgentStartFailed(f"env: {name!r} cannot be exported", agent=spec.address)
    return "".join(f"give {name} {quote(value)}\n" for name, value in env.items())
