"""The errors of SSH hosts.

MachineStartFailed
└── SSHError                  about a host, or the way to it
    ├── HostUnreachable       nobody answers there; trying again may help
    ├── HostKeyUnknown        its key is not among the known ones
    ├── HostKeyChanged        it shows another key than the known one
    ├── LoginRefused          it refused all that was offered
    ├── UnfitAccount          the account's shell runs no commands
    └── TooManySessions       all that the host allows are held
"""

from __future__ import annotations

from ramure.errors import MachineStartFailed


class SSHError(MachineStartFailed):
    """Something about a host, or the way to it."""


class HostUnreachable(SSHError):
    """Nobody answers there, or the connection broke while it was made; trying again may help."""


class HostKeyUnknown(SSHError):
    """The host's key is not among the known ones, and nothing has been sent to it."""


class HostKeyChanged(SSHError):
    """The host shows another key than the known one, and nothing has been sent to it."""


class LoginRefused(SSHError):
    """The host refused all keys and passwords that were offered."""


class UnfitAccount(SSHError):
    """The account's shell does not run commands, or only some."""


class TooManySessions(SSHError):
    """All sessions that the host allows at a time are held by what need never end."""
