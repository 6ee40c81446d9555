"""The SDK's client of an engine. Imports the SDK: only imported where there is an engine to ask."""

from __future__ import annotations

from pathlib import Path

from docker import APIClient
from docker.tls import TLSConfig

from ramure_docker.address import Address


class Client(APIClient):
    """As our own streams: no proxy, the engine's certificates, whatever the environment says."""

    @property
    def trust_env(self) -> bool:
        """Whether requests looks into the environment; it would overrule what we say."""
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        """Stay as it is."""


def connect(
    address: Address, url: str, version: str, *, timeout: int, connections: int
) -> APIClient:
    """A client for the engine at ``url``, which may only lead to ``address``. Asks nothing yet."""
    return Client(
        base_url=url,
        version=version,
        timeout=timeout,
        tls=_tls(address),
        max_pool_size=connections,
    )


def _tls(address: Address) -> TLSConfig | bool:
    if address.certs is None:
        return False
    folder = Path(address.certs)
    return TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
        ca_cert=str(folder / "ca.pem") if address.verify else None,
        verify=address.verify,
    )
