"""What ``ramure doctor`` looks at."""

from __future__ import annotations

import os

from ramure.errors import MachineError
from ramure.values import Host, Problem
from ramure_docker.backend import DockerBackend
from ramure_docker.errors import EngineUnavailable


def _absent(error: MachineError) -> bool:
    return isinstance(error, EngineUnavailable) and error.absent


async def engine() -> list[Problem]:
    """Whether the engine that ``host="docker"`` means can be used."""
    backend = DockerBackend()
    try:
        await backend.find({"ramure.run": "-"}, host=Host("docker"))
    except MachineError as error:
        what, _, cure = str(error).partition(" (")
        chosen = "DOCKER_HOST" in os.environ or "DOCKER_CONTEXT" in os.environ
        return [Problem(what, cure.removesuffix(")"), unused=_absent(error) and not chosen)]
    finally:
        await backend.aclose()
    return []
