"""A ``DockerImage`` as what the engine is asked to create."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ramure_docker.hostconfig import STATE, host_config
from ramure_docker.image import DockerImage
from ramure_docker.lease import looks
from ramure_docker.process import script

if TYPE_CHECKING:
    from docker import APIClient

FOLDER = "ramure.folder"
"""The label that holds the machine's own folder."""


def create(
    api: APIClient,
    image: DockerImage,
    *,
    name: str,
    labels: Mapping[str, str],
    mounted: Mapping[str, str] | None = None,
    sign: str = "held",
) -> str:
    """Create a container and give its id. Blocking.

    Args:
        api: the engine.
        image: what it is made of, and how.
        name: of the container.
        labels: ramure's own.
        mounted: volumes that it can only read, and where.
        sign: by what the guard knows that the program lives: "held" or "beat".
    """
    folder = f"{STATE}/{name}"
    seconds, count = looks(image.lease)
    made: dict[str, Any] = api.create_container(
        image.reference,
        # Whatever the image would run by itself: its container is a place to work in.
        entrypoint=["/bin/sh", *script("guard.sh", folder, str(seconds), str(count), sign)[1:]],
        stdin_open=True,
        name=name,
        labels={**image.labels, **labels, FOLDER: folder},
        environment=dict(image.env),
        user=image.user,
        working_dir=image.workdir,
        healthcheck={"test": ["NONE"]},
        stop_signal="SIGTERM",
        platform=image.platform,
        host_config=api.create_host_config(**host_config(image, mounted)),
    )
    return str(made["Id"])
