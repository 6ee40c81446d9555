"""Which engine: a host as people write it, the environment, or Docker's own context."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramure.errors import MachineError, PlacementError
from ramure.values import Host

VARIANTS = ("ssh", "tcp", "unix")
SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine is.

    Attributes:
        url: ``unix:///path``, ``tcp://host:port`` or ``ssh://me@box``.
        certs: the folder with ``ca.pem``, ``cert.pem`` and ``key.pem``; None: no TLS.
        verify: with TLS, check who the engine is.
    """

    url: str
    certs: str | None = None
    verify: bool = True

    @property
    def scheme(self) -> str:
        """``unix``, ``tcp`` or ``ssh``."""
        return self.url.partition("://")[0]

    @property
    def place(self) -> str:
        """What comes after the scheme."""
        return self.url.partition("://")[2]

    @property
    def here(self) -> bool:
        """True for an engine of this computer: it learns at once that the program has ended."""
        return self.scheme == "unix"

    def as_data(self) -> dict[str, Any]:
        """As a reference carries it."""
        return {"engine": self.url, "certs": self.certs, "verify": self.verify}

    @classmethod
    def of_data(cls, data: Any) -> Address:
        """From a reference."""
        return cls(str(data["engine"]), data.get("certs"), bool(data.get("verify", True)))


def check(host: Host) -> None:
    """Accept ``docker``, ``docker+ssh://…``, ``docker+tcp://…`` and ``docker+unix://…``.

    Raises:
        PlacementError: another form.
    """
    if host.variant is None and host.location is None:
        return
    if host.variant not in VARIANTS or not host.location:
        raise PlacementError(
            f"host={str(host)!r}: an engine is 'docker', 'docker+ssh://me@box',"
            " 'docker+tcp://box:2376' or 'docker+unix:///path/of/docker.sock'"
        )


def resolve(host: Host) -> Address:
    """The engine that ``host`` names; bare ``docker`` is the one that the docker CLI would use.

    Blocking: reads Docker's settings.

    Raises:
        MachineError: the settings make no sense.
    """
    if host.variant is not None:
        return _of_url(f"{host.variant}://{host.location}")
    if url := os.environ.get("DOCKER_HOST"):
        return _of_environment(url)
    return _of_context() or Address(f"unix://{_socket()}")


def _verify() -> bool:
    return bool(os.environ.get("DOCKER_TLS_VERIFY"))


def _of_environment(url: str) -> Address:
    if url.partition("://")[0] not in VARIANTS:
        raise MachineError(f"DOCKER_HOST={url!r}: only unix://, tcp:// and ssh:// can be used")
    return _of_url(url)


def _of_url(url: str) -> Address:
    """By TCP, with TLS where the environment says so."""
    given = os.environ.get("DOCKER_CERT_PATH")
    if not url.startswith("tcp://") or not (given or _verify()):
        return Address(url)
    return Address(url, given or str(Path.home() / ".docker"), _verify())


def _of_context() -> Address | None:
    from docker.context import ContextAPI
    from docker.errors import DockerException

    name = os.environ.get("DOCKER_CONTEXT")
    try:
        context = ContextAPI.get_context(name) if name else ContextAPI.get_current_context()
    except (DockerException, ValueError, OSError) as error:
        raise MachineError(f"Docker's context cannot be read: {error}") from error
    if context is None:
        if name and name != "default":
            raise MachineError(f"DOCKER_CONTEXT={name!r}: there is no such context")
        return None
    if context.Name == "default" or not context.Host:
        return None
    tls = context.TLSConfig
    if tls is None or not tls.cert:
        return Address(context.Host)
    return Address(context.Host, str(Path(tls.cert[0]).parent), bool(tls.verify))


def _socket() -> str:
    """Docker's usual socket; where there is none, that of a rootless engine of this user."""
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / "docker.sock"
    return str(rootless) if not Path(SOCKET).exists() and rootless.exists() else SOCKET
