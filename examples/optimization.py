# /// script
# requires-python = ">=3.11"
# dependencies = ["ramure>=0.1"]
# ///
"""Optimization: propose, measure, keep the best, stop when the budget is used up.

An agent golfs: it looks for the shortest Python program that prints the first hundred primes. The
agent has the ideas; what a proposal is worth, this program measures, so that nothing else counts.

    uv run optimization.py --attempts 20 --seconds 900 --dollars 0.50 --output best.py
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ramure import Agent, ExecResult, NoAnswer, RamureError, agent, agent_process

PRIMES = [n for n in range(2, 542) if all(n % m for m in range(2, n))]
WANTED = "".join(f"{n}\n" for n in PRIMES)
FIRST = "print(*[n for n in range(2, 542) if all(n % m for m in range(2, n))], sep='\\n')\n"

TASK = """\
Find the shortest Python 3 program (in bytes) that prints the first 100 primes, one a line.
A program that prints anything else, or takes longer than ten seconds, is worth nothing.
"""


@dataclass
class Proposal:
    """What the agent is asked for: an idea, and the whole program."""

    idea: str
    program: str


@dataclass(frozen=True)
class Budget:
    """What may be used, of each; the first that runs out ends the search."""

    attempts: int
    seconds: float
    dollars: float


@dataclass
class Search:
    """How far the search has come."""

    budget: Budget
    best: str = FIRST
    attempts: int = 0
    ended: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Seconds until the time is used up."""
        return self.budget.seconds - (time.monotonic() - self.began)

    def used_up(self, cost: float) -> bool:
        """Whether something has run out; ``ended`` says what."""
        if self.attempts >= self.budget.attempts:
            self.ended = f"{self.attempts} attempts"
        elif self.seconds_left <= 0:
            self.ended = f"{self.budget.seconds:g} seconds"
        elif cost >= self.budget.dollars:
            self.ended = f"${cost:.4f} of ${self.budget.dollars:.4f}"
        return bool(self.ended)

    def judge(self, program: str, result: ExecResult) -> str:
        """Keep a program if it is the best so far; say what it is worth."""
        size = len(program.encode())
        if result.timed_out:
            return "nothing: it took too long"
        if not result.ok:
            return f"nothing: it failed with {result.stderr.strip()[-300:]!r}"
        if result.stdout != WANTED:
            return f"nothing: it printed {result.stdout[:100]!r}"
        if size >= len(self.best.encode()):
            return f"{size} bytes, no better than the best"
        self.best = program
        return f"{size} bytes, the best so far"


@agent_process
async def optimize(budget: Budget) -> tuple[Search, float]:
    """Let an agent propose until the budget is used up; give the search and its cost."""
    golfer = await agent("golfer")
    search = Search(budget)
    verdict = f"Begin with this program of {len(FIRST)} bytes:\n\n{FIRST}"
    while not search.used_up(golfer.usage.cost):
        search.attempts += 1
        try:
            proposal = await golfer.ask(
                f"{TASK}\n{verdict}\n\nPropose a program.", Proposal, timeout=search.seconds_left
            )
        except NoAnswer as error:
            verdict = f"There was no proposal: {error.reason}."
        else:
            worth = search.judge(proposal.program, await measure(golfer, proposal.program))
            print(f"{search.attempts:3}  {proposal.idea}: {worth}", flush=True)
            verdict = f"Your last proposal was worth {worth}. The best:\n\n{search.best}"
    return search, golfer.usage.cost


async def measure(golfer: Agent, program: str) -> ExecResult:
    """Run a program where the agent works: code that a model wrote has no business elsewhere."""
    return await golfer.exec(["python3", "-I", "-"], input=program, timeout=10)


def main() -> int:
    """Read the command line, search, print and store the best."""
    parser = argparse.ArgumentParser(description="Golf the first hundred primes.")
    parser.add_argument("--attempts", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--dollars", type=float, default=0.50)
    parser.add_argument("--output", type=Path, help="where to write the best program")
    given = parser.parse_args()
    try:
        budget = Budget(given.attempts, given.seconds, given.dollars)
        search, cost = asyncio.run(optimize(budget))
    except RamureError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"\n{search.best.rstrip()}\n", flush=True)
    if given.output:
        given.output.write_text(search.best)
    size, first = len(search.best.encode()), len(FIRST)
    print(f"{size} bytes, where {first} were the first; ended after {search.ended}; ${cost:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
