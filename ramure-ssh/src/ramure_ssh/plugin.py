"""What this plugin registers with ramure. Imports no SDK."""

from __future__ import annotations

from collections.abc import Iterable

from ramure.hookspecs import BackendInfo, CheckInfo, TransportInfo, hookimpl

RAMURE_CONTRACT = 1


@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """Computers reached by SSH."""
    yield BackendInfo(
        "ssh",
        "a computer reached by SSH, in a folder",
        load="ramure_ssh.backend:SSHBackend",
        image="ramure_ssh.image:SSHImage",
    )


@hookimpl
def ramure_register_transports() -> Iterable[TransportInfo]:
    """The way to the run where no relay can run."""
    yield TransportInfo(
        "ssh",
        "a unix socket on an SSH host, forwarded over its connection",
        load="ramure_ssh.transport:SSHTransport",
    )


@hookimpl
def ramure_register_checks() -> Iterable[CheckInfo]:
    """What ``ramure doctor`` can see of a person's SSH hosts."""
    yield CheckInfo("ssh", "SSH hosts of this computer's runs", "ramure_ssh.checks:hosts")
