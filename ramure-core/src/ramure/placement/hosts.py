"""``host=`` as people write it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramure.errors import PlacementError
from ramure.values import Host

HostText = str | Host
HostLike = HostText | Sequence[HostText] | Mapping[HostText, int] | Callable[[], Any]
"""One host; several to choose from, with or without the number of machines that each may have at
once; or a function that is called for each machine (it may be async) and returns a host."""

_NAME = "[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_HOST = re.compile(rf"({_NAME})(?:\+({_NAME}))?(?:://([^\s\x00-\x1f\x7f]+))?")


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where the program asked for a WebSocket listener.

    Attributes:
        host: the address to listen on.
        port: 0 for any free one.
        base_url: what agents are told, where it differs.
    """

    host: str = "127.0.0.1"
    port: int = 0
    base_url: str | None = None


def read_host(text: HostText) -> Host:
    """Read ``name[+variant][://location]``, whatever is installed.

    Raises:
        PlacementError: it has another form.
    """
    if isinstance(text, Host):
        return text
    if isinstance(text, str) and (match := _HOST.fullmatch(text)):
        return Host(match[1], match[2], match[3])
    hint = ""
    if isinstance(text, str) and re.fullmatch(r"[\w.-]+@[\w.-]+(:\d+)?", text):
        hint = f"; did you mean 'ssh://{text}'?"
    elif isinstance(text, str) and _HOST.fullmatch(text.strip().lower()):
        hint = f"; did you mean {text.strip().lower()!r}?"
    raise PlacementError(
        f"host={text!r}: a host is name[+variant][://location], such as 'local',"
        f" 'docker' or 'ssh://me@box'{hint}"
    )


def split_listener(
    host: HostLike | None, port: int | None, base_url: str | None
) -> tuple[HostLike | None, ListenerOptions | None]:
    """Tell apart what ``@agent_process`` means by ``host=``: machines, or a listener's address.

    A bare IP address or ``localhost`` is where a WebSocket listener is opened, as in ramure 0.0.x.

    Raises:
        PlacementError: a port or URL that cannot be used.
    """
    if port is not None and (isinstance(port, bool) or port not in range(65536)):
        raise PlacementError(f"port={port!r}: a port is a number from 0 to 65535 (0: any free one)")
    if base_url is not None and not re.match(r"wss?://[^/\s]", str(base_url)):
        raise PlacementError(
            f"base_url={base_url!r}: agents dial it, so it must start with ws:// or wss://"
        )
    if address := _address(host):
        return None, ListenerOptions(address, port or 0, base_url)
    if port is None and base_url is None:
        return host, None
    return host, ListenerOptions(port=port or 0, base_url=base_url)


def _address(host: HostLike | None) -> str | None:
    if not isinstance(host, str):
        return None
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return "localhost" if host == "localhost" else None
