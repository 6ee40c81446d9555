"""Tool calls of 1, 100 and 1000 agents at once, and how agents are made and ended."""

from compare import compare, contenders, options, verdict, warm_up

CROWDS = {1: 2000, 100: 60, 1000: 8}
"""Agents, and how often each calls."""


if __name__ == "__main__":
    given = options()
    warm_up(given, contenders("calls", 1, 10))
    missed = []
    for agents, calls in ({1: 20, 7: 5} if given.quick else CROWDS).items():
        measures = contenders("calls", agents, calls)
        missed += compare(f"tool calls of {agents}", measures, given.rounds)
    verdict(given, missed)
