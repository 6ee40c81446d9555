"""Faults at every await of a machine: it fails, delays, or has somebody cancelled.

    for point in every_point(raises(LinkBroken("the line is dead"))):
        with faulty("local", point):
            ...  # run a program; at its n-th use of a machine, in the n-th round, the line is dead
        ...  # see that nothing is left

Rounds go on until one has not come as far as its point: nothing was wrong in that one. A machine
alone is harmed by ``FaultyMachine(machine, faults)``. Which operations are harmed, and how, a
``Faults`` says: by the n-th operation (``every_point``), by kind (``script``), or by chance that
can be repeated (``seeded``).
"""

from ramure.testing._faults import (
    Fault,
    Faults,
    Moment,
    Operation,
    Point,
    cancels,
    delays,
    every_point,
    raises,
    script,
    seeded,
)
from ramure.testing._faulty import FaultyBackend, FaultyMachine, faulty

__all__ = [
    "Fault",
    "Faults",
    "FaultyBackend",
    "FaultyMachine",
    "Moment",
    "Operation",
    "Point",
    "cancels",
    "delays",
    "every_point",
    "faulty",
    "raises",
    "script",
    "seeded",
]
