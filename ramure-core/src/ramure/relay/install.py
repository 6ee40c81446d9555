"""Putting the relay on a machine: one command that writes its files and starts the daemon."""

from __future__ import annotations

import json
import secrets
from functools import cache
from importlib.resources import files

from ramure.errors import RelayUnavailable
from ramure.machine import Machine

OLDEST_NODE = 18
SOCKET = "relay.sock"
"""Where the daemon listens, in its folder."""

STARTING = 60.0
"""Seconds in which Node.js has to start there."""

PATIENCE = 200
"""Looks, 0.05 s apart, for a daemon that has just been started."""

# $1 folder, $2 node, $3 what it runs, then the daemon's options; input: the files, as JSON. Only
# the files' mode is restricted: what the daemon starts later shall have the machine's own umask.
SCRIPT = """LC_ALL=C; export LC_ALL
command -v mkfifo >/dev/null || { echo 'there is no mkfifo' >&2; exit 1; }
(umask 077 && mkdir -p "$1" && cat >"$1/files") && cd "$1" || exit 1
exec "$2" -e "$3" start "$@"
"""

UNPACK = f"""
const fs = require("fs");
if (parseInt(process.versions.node) < {OLDEST_NODE}) {{
  console.error(`Node.js ${{process.versions.node}} is too old: {OLDEST_NODE} or newer is needed`);
  process.exit(1);
}}
const all = JSON.parse(fs.readFileSync("files", "utf8"));
for (const name in all) fs.writeFileSync(name, all[name], {{ mode: 0o600 }});
fs.unlinkSync("files");
process.argv = [process.argv[0], "relay.mjs", "start", ".", ...process.argv.slice(5)];
import(require("url").pathToFileURL("relay.mjs"));
"""


async def install(machine: Machine, node: str, lease: float, *, heartbeat: bool) -> str:
    """Start a daemon of our own on ``machine``; give its folder. The daemon removes it.

    Raises:
        RelayUnavailable: there is no fit Node.js, or it could not be started.
        MachineError: as ``Machine.exec``.
    """
    folder = f"{machine.state_dir}/relay-{secrets.token_hex(4)}"
    options = [f"{lease:g}", "beat" if heartbeat else "still"]
    command = ["sh", "-c", SCRIPT, "ramure", folder, node, UNPACK, *options]
    result = await machine.exec(command, input=_files(), timeout=STARTING, cwd="/")
    if result.ok:
        return folder
    if result.exit_code in {126, 127}:
        reason = f"there is no Node.js that could be run as {node!r}"
    else:
        reason = result.stderr.strip()[-1000:] or f"exit code {result.exit_code}"
    raise RelayUnavailable(f"the relay cannot run there: {reason}", machine=machine.name)


def _files() -> str:
    shipped = files("ramure.relay") / "node"
    modules = [file for file in shipped.iterdir() if file.name.endswith(".mjs")]
    return json.dumps({file.name: file.read_text("utf-8") for file in modules})


def attach_command(folder: str, *, first: bool) -> list[str]:
    """The command of an attach; ``first``: the daemon may not have come up yet."""
    return ["sh", "-c", _attach(), "attach", folder, str(PATIENCE if first else 0)]


@cache
def _attach() -> str:
    """The script, without comments."""
    text = (files("ramure.relay") / "node" / "attach.sh").read_text("utf-8")
    return "".join(row for row in text.splitlines(keepends=True) if not row.startswith("#"))
