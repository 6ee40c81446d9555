"""``image=`` and ``host=`` to a backend, an image and a host.

hosts.py       host= as people write it; the WebSocket listener that it may mean
placing.py     the rules: what a level says, on top of what it inherits
occupancy.py   how many machines each host has, and waiting for room
"""

from ramure.placement.hosts import HostLike, ListenerOptions, read_host, split_listener
from ramure.placement.placing import Placement, resolve_placement

__all__ = [
    "HostLike",
    "ListenerOptions",
    "Placement",
    "read_host",
    "resolve_placement",
    "split_listener",
]
