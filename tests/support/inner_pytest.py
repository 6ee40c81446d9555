"""Running pytest within a test: what an author of tests or plugins sees of it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HANGS = 1500
"""Seconds after which such a run hangs."""


@dataclass
class Run:
    """What became of a run.

    Attributes:
        output: what it said.
        suites: by class, the tests' names by how they ended: passed, failed, error, skipped,
            xfailed.
    """

    output: str
    suites: dict[str, dict[str, set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )

    def bad(self, suite):
        """The names of a class's tests that failed, without their cases."""
        ends = self.suites[suite]
        return {name.partition("[")[0] for name in ends["failed"] | ends["error"]}


def run(folder, *arguments, cwd=None, **env):
    """Run pytest on files, with no settings but its own; its files go into ``folder``."""
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "anyio", "-c", os.devnull]
    env = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": _path(),
        "RAMURE_HOME": str(folder / "home"),
        **env,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *options, f"--rootdir={cwd or folder}"),
            *(f"--junit-xml={report}", f"--basetemp={folder}/inner", "-W", "error"),
            *map(str, arguments),
        ],
        cwd=cwd or folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    result = Run(done.stdout + done.stderr)
    for case in ET.parse(report).getroot().iter("testcase") if report.exists() else ():
        suite = case.get("classname", "").rpartition(".")[2]
        result.suites[suite][_end(case)].add(case.get("name", ""))
    return result


def _path():
    here = str(Path(__file__).parent)
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _end(case):
    for child in case:
        if child.tag in {"failure", "error"}:
            return {"failure": "failed", "error": "error"}[child.tag]
        if child.tag == "skipped":
            return "xfailed" if child.get("type") == "pytest.xfail" else "skipped"
    return "passed"
