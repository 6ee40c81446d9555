"""What is waited for before anything happens: imports, and the command line's first word."""

import time
from pathlib import Path

from compare import FORMER, OURS, compare, options, present, run, verdict, warm_up

QUICK_START = "import asyncio; from ramure import agent, agent_process, done, fail, wait"

TRIES = 3
"""The least disturbed of so many counts."""


def program(python: Path, statement: str) -> list[object]:
    return [python, "-c", statement]


def commands(python: Path) -> dict[str, list[object]]:
    """What a user of ramure starts, in the environment of this Python."""
    command = python.with_name("ramure")
    return {
        "import ramure": program(python, "import ramure"),
        "from ramure import agent_process": program(python, "from ramure import agent_process"),
        "the quick start's imports": program(python, QUICK_START),
        "ramure --help": [command, "--help"],
        "ramure ls": [command, "ls"],
    }


def bare() -> dict[str, list[object]]:
    """What they stand on."""
    return {
        "import ramure": program(OURS, "import asyncio"),
        "from ramure import agent_process": program(OURS, "import asyncio"),
        "the quick start's imports": program(OURS, "import asyncio"),
        "ramure --help": program(OURS, "import typer"),
        "ramure ls": program(OURS, "import asyncio"),
    }


def measure(commands: dict[str, list[object]], tries: int) -> dict[str, float]:
    return {what: min(timed(command) for _ in range(tries)) for what, command in commands.items()}


def timed(command: list[object]) -> float:
    start = time.perf_counter()
    run(*command)
    return time.perf_counter() - start


if __name__ == "__main__":
    given = options()
    tries = 1 if given.quick else TRIES
    measures = present(
        {
            "ramure": lambda: measure(commands(OURS), tries),
            "0.0.3": lambda: measure(commands(FORMER), tries),
            "bare": lambda: measure(bare(), tries),
        }
    )
    warm_up(given, measures)
    verdict(given, compare("start", measures, given.rounds))
