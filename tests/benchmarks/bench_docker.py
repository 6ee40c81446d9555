"""Commands, output, files, memory and lives of containers: ramure, 0.0.3, the docker SDK alone.

On an engine of its own, as the tests have it: needs root and ``dockerd``.
"""

import os
import sys

from compare import ROOT, compare, contenders, options, verdict, warm_up

sys.path.insert(0, str(ROOT / "tests/support"))

from docker_engine import Engine, Missing, require

GOALS = {
    "a command": 1.05,
    "a command, relay": 0.15,
    "10 MB of output, relay": 1.1,
    "50 MB there, relay": 1.15,
    "50 MB back, relay": 1.15,
    "made and removed": 1.1,
    # The SDK is given files, and gives them, as one archive: what is flat is next to nothing.
    "memory for more there": 0.1,
    "memory for more back": 0.1,
    "memory for more there, relay": 0.1,
    "memory for more back, relay": 0.1,
}
"""What is aimed at, beside the bare SDK."""

if __name__ == "__main__":
    given = options()
    try:
        require()
    except Missing as problem:
        sys.exit(str(problem))
    engine = Engine.start()
    try:
        engine.add_images()
        os.environ["DOCKER_HOST"] = engine.url
        commands, lives, large = (2, 1, 20_000_000) if given.quick else (20, 5, 200_000_000)
        measures = contenders("docker", commands, lives, large)
        warm_up(given, measures)
        verdict(given, compare("containers", measures, given.rounds, GOALS))
    finally:
        engine.end()
