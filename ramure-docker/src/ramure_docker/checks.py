"""What ``ramure doctor`` looks at."""

from __future__ import annotations

from ramure.errors import MachineError
from ramure.values import Host, Problem
from ramure_docker.backend import DockerBackend


async def engine() -> list[Problem]:
    """Whether the engine that ``host="docker"`` means can be used."""
    backend = DockerBackend()
    try:
        await backend.find({"ramure.run": "-"}, host=Host("docker"))
    except MachineError as error:
        what, _, cure = str(error).partition(" (")
        return [Problem(what, cure.removesuffix(")"))]
    finally:
        await backend.aclose()
    return []
