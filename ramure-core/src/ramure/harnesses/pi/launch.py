"""What is put into an agent's state folder to start pi, and the scripts that watch and end it.

    launch.sh     what the pane runs: reads ``env``, starts pi, writes how it ended to ``exit``
    env           pi's environment; removed once it has been read
    bridge.json   the bridge's settings with the agent's token; removed by the bridge
    system.md     what is added to pi's system prompt
    tmux.conf     the options of the tmux server
    alive         a FIFO that the launcher alone holds open: its end is the launcher's end
    exit          pi's exit code as the shell gives it
    session.jsonl pi's session; a restarted agent goes on with it

Everything is written by one shell that reads its script from stdin, so that nothing secret is ever
on a command line, and with a umask that keeps all of it to its owner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from shlex import join, quote

from ramure.errors import AgentStartFailed
from ramure.harnesses.pi.toolset import ToolSet
from ramure.values import AgentSpec

MARK = "RAMURE_AGENT"
"""The variable by which all that pi starts is found again, whatever session it is in."""

OFFLINE = {"PI_OFFLINE": "1", "PI_SKIP_VERSION_CHECK": "1", "PI_TELEMETRY": "0"}

TMUX_CONF = r"""
set -sq exit-empty off
set -sq escape-time 10
set -sq extended-keys on
set -gq default-terminal screen-256color
set -gaq terminal-overrides ",*:Tc"
set -gq history-limit 20000
set -gq mouse on
set -gq remain-on-exit on
set -gq focus-events on
set -gq prefix2 'C-\'
set -gq status-left-length 60
set -gq status-left "#{session_name} "
set -gq status-right "leave: C-b d, inside another tmux: C-\\ d"
set -gq status-right-length 60
setw -gq window-status-format ""
setw -gq window-status-current-format ""
"""

_LAUNCH = """\
#!/bin/sh
umask 077
exec 9<>{alive}
. {env}
rm -f {env}
unset TMUX TMUX_PANE
cd {cwd} || exit 1
{command} 9>&-
code=$?
echo "$code" >{exit}
exit "$code"
"""

WATCH = """\
exec 8<>alive || exit 0
[ -e exit ] || { exec 7<alive; exec 8>&-; cat <&7 >/dev/null; }
cat exit 2>/dev/null
"""
"""Run in the state folder: ends when the launcher has ended and gives pi's exit code, if any.

Opening a FIFO for reading waits for a writer, for ever if there is none any more; so it is opened
for both first.
"""

END = """\
marked() {
  if [ -r /proc/self/environ ]; then
    grep -lsazFx -e "$MARKED" /proc/[0-9]*/environ | cut -d/ -f3
  else
    ps -axwwE -o pid= -o command= | grep -F -e "$MARKED " | grep -v grep | awk '{print $1}'
  fi
}
tries=0
while [ -n "$(marked)" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 15 ] || kill -9 $(marked) 2>/dev/null
  [ "$tries" -lt 60 ] || exit 1
  sleep 0.1
done
"""
"""Waits for all that carries the mark to end: 1.5 s by itself, then it is killed."""


def mark(spec: AgentSpec) -> str:
    """The value of ``MARK`` for this incarnation of this agent."""
    return f"{spec.run}/{spec.address}/{spec.incarnation}"


def prepare(spec: AgentSpec, tools: ToolSet, address: str, extension: str, conf: str) -> str:
    """The script, to be read by ``sh -s``, that puts everything into the state folder.

    Args:
        spec: the agent.
        tools: where pi is on the machine.
        address: the route's, as the bridge dials it.
        extension: where the bridge is on the machine.
        conf: where the options of the tmux server are to be.

    Raises:
        AgentStartFailed: the environment or an option cannot be passed on.
    """
    there = spec.state_dir
    launch = _LAUNCH.format(
        alive=quote(f"{there}/alive"),
        env=quote(f"{there}/env"),
        exit=quote(f"{there}/exit"),
        cwd=quote(spec.cwd),
        command=join(_command(spec, tools, extension)),
    )
    bridge = {
        "address": address,
        "agent": spec.address,
        "token": spec.token,
        "lease": spec.lease,
        "version": tools.version,
        "model": spec.model or "",
    }
    env = {**OFFLINE, **spec.env, "RAMURE_BRIDGE": f"{there}/bridge.json"}
    contents = {
        "launch.sh": launch,
        "env": _exports(env, spec),
        "bridge.json": json.dumps(bridge),
        "system.md": spec.system_prompt or "",
    }
    lines = ["set -eu", "umask 077", f"printf %s {quote(TMUX_CONF)} >{quote(conf)}"]
    lines += [f"cd {quote(there)}", "rm -f exit alive", "mkfifo alive"]
    # printf is the shell's own: no process sees these as its arguments.
    lines += [f"printf %s {quote(text)} >{name}" for name, text in contents.items()]
    return "\n".join([*lines, ""])


def _command(spec: AgentSpec, tools: ToolSet, extension: str) -> list[str]:
    command = [tools.node, tools.cli, "--session", f"{spec.state_dir}/session.jsonl"]
    command += ["--extension", extension]
    if tools.at_least(0, 79, 0):
        command += ["--approve" if spec.options.get("approve") else "--no-approve"]
    if spec.system_prompt:
        command += ["--append-system-prompt", f"{spec.state_dir}/system.md"]
    if spec.model:
        command += ["--model", spec.model]
    if spec.options.get("thinking"):
        command += ["--thinking", str(spec.options["thinking"])]
    flags = spec.options.get("flags", ())
    if isinstance(flags, str) or not all(isinstance(flag, str) for flag in flags):
        raise AgentStartFailed("the option flags= is a list of strings", agent=spec.address)
    return [*command, *flags]


def _exports(env: Mapping[str, str], spec: AgentSpec) -> str:
    for name, value in env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise AgentStartFailed(f"env: {name!r} cannot be exported", agent=spec.address)
    return "".join(f"export {name}={quote(value)}\n" for name, value in env.items())
