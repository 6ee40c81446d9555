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

from ramure.testing._actor import act
from ramure.testing._written import SETTINGS, Settings, from_json
from ramure.testing.playbook import Playbook


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
