"""The SDK's client of an engine. Imports the SDK: only imported where there is an engine to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any

from docker import APIClient
from docker.tls import TLSConfig
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from ramure_docker.address import Address

Dial = Callable[[], socket]

DIALLED = "tcp://engine:2375"
"""What the SDK takes an engine for whose connections are dialled for it."""


class Client(APIClient):
    """As our own streams: no proxy, the engine's certificates, whatever the environment says."""

    def create_container_from_config(
        self, config: Any, name: str | None = None, platform: str | None = None
    ) -> Any:
        """What there is to ask: that is done on the event loop, where it can be given up."""
        return config

    @property
    def trust_env(self) -> bool:
        """Whether requests looks into the environment; it would overrule what we say."""
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        """Stay as it is."""


def connect(
    address: Address, dial: Dial | None, version: str, *, timeout: int, connections: int
) -> APIClient:
    """A client for the engine at ``address``. Asks nothing yet.

    ``dial`` is called, in any thread, for its connections; None: the SDK knows how to make them.
    """
    client = Client(
        base_url=address.url if dial is None else DIALLED,
        version=version,
        timeout=timeout,
        tls=_tls(address),
        max_pool_size=connections,
    )
    if dial is not None:
        client.mount(client.base_url, _Adapter(_dialling(dial), connections))
    return client


class _Adapter(HTTPAdapter):
    """Connections of a pool of our own."""

    def __init__(self, pool: type[HTTPConnectionPool], connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self.poolmanager.pool_classes_by_scheme = {"http": pool}


def _dialling(dial: Dial) -> type[HTTPConnectionPool]:
    """A pool whose connections ``dial`` makes."""

    class Connection(HTTPConnection):
        def connect(self) -> None:
            """Connect; urllib3 sets how long the socket waits."""
            self.sock = dial()

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


def _tls(address: Address) -> TLSConfig | bool:
    if address.certs is None:
        return False
    folder = Path(address.certs)
    return TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
        ca_cert=str(folder / "ca.pem") if address.verify else None,
        verify=address.verify,
    )
