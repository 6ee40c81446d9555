"""Which of the processes that tests start are measured for coverage: those that ask for it.

Beginning to measure costs a Python process ten times what its start does, and most are probes and
small helpers that run nothing of ours.
"""

import os

_NAME = "COVERAGE_PROCESS_CONFIG"
"""What coverage's hook looks for in each new Python process, where its patch is "subprocess"."""

_kept: dict[str, str] = {}


def only_who_asks() -> None:
    """From now on, a process is measured only if it gets ``environment()``."""
    if _NAME in os.environ:
        _kept[_NAME] = os.environ.pop(_NAME)


def environment() -> dict[str, str]:
    """The variables of a process that is to be measured."""
    return dict(_kept)
