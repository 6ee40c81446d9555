"""Commands, output, files and lives of containers: ramure, 0.0.3, and the docker SDK alone.

On an engine of its own, as the tests have it: needs root and ``dockerd``.
"""

import os
import sys

from compare import ROOT, compare, contenders, options, verdict, warm_up

sys.path.insert(0, str(ROOT / "tests/support"))

from docker_engine import Engine, Missing, require

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
        commands, lives = (2, 1) if given.quick else (20, 5)
        measures = contenders("docker", commands, lives)
        if not given.quick:
            warm_up(measures)
        verdict(given, compare("containers", measures, given.rounds))
    finally:
        engine.end()
