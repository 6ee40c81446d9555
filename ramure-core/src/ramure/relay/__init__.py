"""The relay: a daemon on a machine, and the stream to it that outlives broken links.

See ``docs/reference/relay.md``. Backends need ``RelayedMachine.over``.
"""

from ramure.relay.machine import Relay, RelayedMachine

__all__ = ["Relay", "RelayedMachine"]
