"""A scripted agent in a process of its own: ``python -m ramure.testing.scripted_agent FOLDER``.

``scripted.json`` in the folder says what to play. What a terminal would show is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import anyio
import msgspec

from ramure.testing._actor import Role, act
from ramure.testing.playbook import Playbook, by_name
from ramure.testing.script import Scripts, Written, from_json, to_json

SETTINGS = "scripted.json"


class Settings(msgspec.Struct):
    """What to play. Secret: the agent's token is in it."""

    role: Role
    scripts: dict[str, Written]
    cycle: bool = False


def settings_json(role: Role, scripts: Scripts, *, cycle: bool) -> bytes:
    """The contents of ``scripted.json``.

    Raises:
        TypeError: a script cannot be written down.
    """
    written = {name: to_json(script) for name, script in by_name(scripts).items()}
    return msgspec.json.encode(Settings(role, written, cycle))


def main(folder: Path) -> int:
    """Play; give the exit code, -9 for a crash."""
    settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)
    scripts = {name: from_json(written) for name, written in settings.scripts.items()}
    playbook = Playbook(scripts, cycle=settings.cycle)
    show = partial(print, flush=True)
    return anyio.run(partial(act, settings.role, playbook, show=show, record=show))


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    if code < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(code)
