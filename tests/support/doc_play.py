"""Run a program of the documentation as it stands, its agents played by a script.

    python doc_play.py PROGRAM

It is run as ``python PROGRAM`` is; only where it says nothing of a harness it gets a scripted one.
"""

import runpy
import sys
from pathlib import Path

from doc_scripts import SCRIPTS
from ramure import agent
from ramure.testing import ScriptedHarness


def main(program: Path) -> None:
    """Run it."""
    if program.name in SCRIPTS:
        assert agent.__kwdefaults__["harness"] == "pi"
        agent.__kwdefaults__["harness"] = ScriptedHarness(SCRIPTS[program.name])
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
