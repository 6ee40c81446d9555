"""What this plugin registers with ramure. Imports no SDK."""

from __future__ import annotations

from collections.abc import Iterable

from ramure.hookspecs import BackendInfo, CheckInfo, hookimpl

RAMURE_CONTRACT = 1


@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """Containers of Docker engines, here and elsewhere."""
    yield BackendInfo(
        "docker",
        "containers of a Docker engine, here or elsewhere",
        load="ramure_docker.backend:DockerBackend",
        image="ramure_docker.image:DockerImage",
    )


@hookimpl
def ramure_register_checks() -> Iterable[CheckInfo]:
    """Whether the engine can be used."""
    yield CheckInfo("docker", "the Docker engine answers", load="ramure_docker.checks:engine")
