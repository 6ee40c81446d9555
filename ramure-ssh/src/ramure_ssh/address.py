"""Where a host is: what stands behind ``ssh://``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ramure.errors import PlacementError
from ramure.values import Host

_LOCATION = re.compile(
    r"(?:(?P<user>[^@:/\s]+)@)?(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """``[user@]host[:port]``, or an alias; what is None is as ``~/.ssh/config`` says."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{user}{host}{port}"


def read_address(host: Host) -> Address:
    """The address of ``ssh://…``.

    Raises:
        PlacementError: it is none.
    """
    if host.variant:
        raise PlacementError(f"host={str(host)!r}: {host.backend!r} has no variants")
    if host.location is None:
        raise PlacementError("host='ssh': say which host, as in 'ssh://me@box' or 'ssh://alias'")
    if "@" in host.location and ":" in host.location.partition("@")[0]:
        raise PlacementError(
            "host='ssh://…': a password has no place in an address; say password= in SSHImage, or "
            "set RAMURE_SSH_PASSWORD"
        )
    match = _LOCATION.fullmatch(host.location)
    port = match["port"] if match else None
    if match is None or (port and not 0 < int(port) < 65536):
        raise PlacementError(
            f"host={str(host)!r}: an SSH host is ssh://[user@]host[:port], where host may be an "
            "alias from ~/.ssh/config"
        )
    name = match["ipv6"] or match["host"]
    if name.startswith("-"):
        raise PlacementError(f"host={str(host)!r}: {name!r} cannot be the name of a host")
    return Address(name, match["user"], int(port) if port else None)
