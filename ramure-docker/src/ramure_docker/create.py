"""A ``DockerImage`` as what the engine is asked to create."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ramure.toolset import PROBE
from ramure_docker.hostconfig import STATE, host_config
from ramure_docker.image import DockerImage
from ramure_docker.lease import looks
from ramure_docker.process import script
from ramure_docker.volumes import Volume

if TYPE_CHECKING:
    from docker import APIClient

FOLDER = "ramure.folder"
"""The label that holds the machine's own folder."""


def create_config(
    api: APIClient,
    image: DockerImage,
    *,
    name: str,
    labels: Mapping[str, str],
    sets: Collection[Volume] = (),
    sign: str = "held",
) -> dict[str, Any]:
    """What the engine is to create a container from, as the SDK writes it. Blocking.

    Args:
        api: our own client, which asks nothing here.
        image: what it is made of, and how.
        name: of the container.
        labels: ramure's own.
        sets: volumes of tool sets, which it can only read.
        sign: by what the guard knows that the program lives: "held" or "beat".
    """
    folder = f"{STATE}/{name}"
    seconds, count = map(str, looks(image.lease))
    config: dict[str, Any] = api.create_container(
        image.reference,
        # Whatever the image would run by itself: its container is a place to work in.
        entrypoint=[
            "/bin/sh",
            *script("guard.sh", folder, str(seconds), str(count), sign, PROBE)[1:],
        ],
        stdin_open=True,
        labels={**image.labels, **labels, FOLDER: folder},
        environment=dict(image.env),
        user=image.user,
        working_dir=image.workdir,
        healthcheck={"test": ["NONE"]},
        stop_signal="SIGTERM",
        host_config=api.create_host_config(**host_config(image, sets)),
    )
    return config
