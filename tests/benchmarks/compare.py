"""Contenders measured in turn, A B C A B C …, and the table of how they compare.

Each bench gives its contenders as functions that measure once: ``{what: seconds}``, or bytes. What
disturbs a computer disturbs the neighbours in time about alike, so that the ratio within one round
says more than any milliseconds.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OURS = Path(sys.executable)
FORMER = Path(os.environ.get("RAMURE_BENCH_PEER", ROOT / ".tools/peer/bin/python"))
"""The Python in whose environment ramure 0.0.3 is."""

ROUNDS = 5
PEER, BAR, BAR_OF_CALLS = "0.0.3", 1.0, 0.5
"""What rows stay below, beside the release before this one: no slower, and calls twice as fast."""

BARE = "bare"
BYTES = "memory"
"""How the names of rows begin that are bytes; all others are seconds."""

LIMIT = 600
"""Seconds that one measurement may take; it means "hangs"."""

Measure = Callable[[], Mapping[str, float]]

_bytecode = tempfile.TemporaryDirectory(prefix="bench-")
"""One cache for all contenders, so that nobody compiles more than the others."""


def options() -> argparse.Namespace:
    """What a bench is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--check", action="store_true", help="fail where a row misses the bar")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    return given


def run(*command: object) -> str:
    """Run a command in a home of its own; give what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            cwd=home,
            env={
                **environment,
                "HOME": home,
                "RAMURE_HOME": f"{home}/.ramure",
                "PYTHONPYCACHEPREFIX": _bytecode.name,
                "BENCH_STARTED": str(time.time()),
            },
        )
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-5000:]}")
    return done.stdout


def contenders(subject: str, *arguments: object) -> Mapping[str, Measure]:
    """The three scripts of one subject: this project's, 0.0.3's, and one without either."""

    def script(name: str, python: Path) -> Measure:
        return measured_by(python, HERE / "contenders" / f"{subject}_{name}.py", *arguments)

    return present(
        {
            "ramure": script("ramure", OURS),
            PEER: script("former", FORMER),
            BARE: script("bare", OURS),
        }
    )


def measured_by(*command: object) -> Measure:
    """What a script measures once, each time in a process of its own."""
    return lambda: json.loads(run(*command))


def present(measures: Mapping[str, Measure]) -> Mapping[str, Measure]:
    """Those that can be measured."""
    if FORMER.exists():
        return measures
    print("ramure 0.0.3 is not installed: run make setup", file=sys.stderr)
    return {name: measure for name, measure in measures.items() if name != PEER}


def warm_up(given: argparse.Namespace, measures: Mapping[str, Measure]) -> None:
    """Measure once for nothing: whoever came first would compile for the others."""
    if given.quick:
        return
    for measure in measures.values():
        measure()


def compare(
    title: str,
    measures: Mapping[str, Measure],
    rounds: int,
    goals: Mapping[str, float] | None = None,
) -> list[str]:
    """Measure in turn and print the table; give the rows that miss the bar, marked with a ``!``.

    ``goals`` say what rows are to stay below beside the bare libraries.
    """
    taken: dict[str, list[Mapping[str, float]]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    ours, *others = taken
    header = [title, ours, *(f"beside {name}" for name in others)]
    print(f"{header[0]:<34}{header[1]:>10}  " + "".join(f"{name:<22}" for name in header[2:]))
    missed = []
    for what in taken[ours][0]:
        times = [measured[what] for measured in taken[ours]]
        shown = []
        for other in others:
            ratios = _ratios(times, [m[what] for m in taken[other] if what in m])
            limit = bar(other, what, goals or {})
            bad = bool(ratios) and median(ratios) > limit
            missed += [f"{what} ({limit:g} of {other})"] if bad else []
            shown.append(f"{_spread(ratios)}{' !' if bad else ''}")
        print(
            f"{what:<34}{_amount(what, median(times)):>10}  " + "".join(f"{r:<22}" for r in shown)
        )
    print(flush=True)
    return missed


def bar(other: str, what: str, goals: Mapping[str, float]) -> float:
    """What a row's ratio is to stay below. The peer has no relay: nothing is asked of it here."""
    if other == BARE:
        return goals.get(what, math.inf)
    if other != PEER or "relay" in what:
        return math.inf
    return BAR_OF_CALLS if what.startswith("call") else BAR


def verdict(given: argparse.Namespace, missed: Sequence[str]) -> None:
    """With ``--check``, say which rows miss the bar and fail."""
    if given.check and missed:
        sys.exit(f"more than it is to be: {'; '.join(missed)}")


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """How much longer we take, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)] if theirs else []


def _spread(ratios: Sequence[float]) -> str:
    """The median of the rounds, the least and the most."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"


def _amount(what: str, amount: float) -> str:
    return f"{amount / 1e6:.1f} MB" if what.startswith(BYTES) else _time(amount)


def _time(seconds: float) -> str:
    unit, factor = ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{seconds * factor:.3g} {unit}" if seconds < 1 else f"{seconds:.2f} s"
