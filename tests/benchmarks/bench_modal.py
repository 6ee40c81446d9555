"""Commands and round trips in Modal sandboxes, emulated here: by ramure, and by the bare SDK."""

import os
import sys

from compare import HERE, OURS, ROOT, compare, measured_by, options, warm_up

sys.path.insert(0, str(ROOT / "tests/support"))

from modal_emulator.client import Emulator, missing

if __name__ == "__main__":
    given = options()
    if problem := missing():
        sys.exit(problem)
    with Emulator() as cloud:
        os.environ.update(cloud.env)
        amount = 3 if given.quick else 100
        measures = {
            name: measured_by(OURS, HERE / f"contenders/modal_{script}.py", amount)
            for name, script in (("ramure", "ramure"), ("bare", "bare"))
        }
        warm_up(given, measures)
        compare("Modal sandboxes", measures, given.rounds)
