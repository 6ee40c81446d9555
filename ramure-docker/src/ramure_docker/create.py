"""A ``DockerImage`` as what the engine is asked to create."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramure_docker.image import DockerImage
from ramure_docker.lease import looks
from ramure_docker.process import script

if TYPE_CHECKING:
    from docker import APIClient

STATE = "/run/ramure"
"""In memory: what a run keeps in a container never reaches a disk, nor a snapshot."""

FOLDER = "ramure.folder"
"""The label that holds the machine's own folder."""


def create(
    api: APIClient,
    image: DockerImage,
    *,
    name: str,
    labels: Mapping[str, str],
    mounted: Mapping[str, str] | None = None,
) -> str:
    """Create a container and give its id. Blocking.

    Args:
        api: the engine.
        image: what it is made of, and how.
        name: of the container.
        labels: ramure's own.
        mounted: volumes that it can only read, and where.
    """
    folder = f"{STATE}/{name}"
    seconds, count = looks(image.lease)
    made: dict[str, Any] = api.create_container(
        image.reference,
        # Whatever the image would run by itself: its container is a place to work in.
        entrypoint=["/bin/sh", *script("guard.sh", folder, str(seconds), str(count), "held")[1:]],
        stdin_open=True,
        name=name,
        labels={**image.labels, **labels, FOLDER: folder},
        environment=dict(image.env),
        user=image.user,
        working_dir=image.workdir,
        healthcheck={"test": ["NONE"]},
        stop_signal="SIGTERM",
        platform=image.platform,
        host_config=api.create_host_config(**_host(image, mounted or {})),
    )
    return str(made["Id"])


def _host(image: DockerImage, mounted: Mapping[str, str]) -> dict[str, Any]:
    limit = image.memory
    given = {
        "auto_remove": True,
        "init": image.init,
        "tmpfs": {STATE: "rw,exec,nosuid,nodev,mode=1777"},
        "nano_cpus": None if image.cpus is None else round(image.cpus * 1e9),
        "mem_limit": limit,
        "memswap_limit": limit,
        "pids_limit": image.pids,
        "shm_size": image.shm,
        "device_requests": _gpus(image),
        "binds": [*_binds(image), *(f"{volume}:{at}:ro" for volume, at in mounted.items())],
        "mounts": _mounts(image),
        "network_mode": image.network,
        "extra_hosts": dict(image.extra_hosts),
        "dns": list(image.dns),
        "read_only": image.read_only,
        "cap_add": list(image.cap_add),
        "cap_drop": list(image.cap_drop),
        "security_opt": list(image.security_opt),
        "privileged": image.privileged,
    }
    return {key: value for key, value in given.items() if value not in (None, [], {})} | {
        **image.options
    }


def _gpus(image: DockerImage) -> list[dict[str, Any]]:
    if image.gpus is None:
        return []
    request: dict[str, Any] = {"capabilities": [["gpu"]]}
    if image.gpus == "all" or isinstance(image.gpus, int):
        request["count"] = -1 if image.gpus == "all" else image.gpus
    else:
        request["device_ids"] = list(image.gpus)
    return [request]


def _binds(image: DockerImage) -> list[str]:
    """Folders of this computer by their absolute paths; other sources are volumes' names."""
    binds = []
    for source, target in image.volumes.items():
        here = source.startswith(("/", ".", "~"))
        path = str(Path(source).expanduser().absolute()) if here else source
        binds.append(f"{path}:{target}")
    return binds


def _mounts(image: DockerImage) -> list[Any]:
    from docker.types import Mount

    return [Mount(**mount) for mount in image.mounts]
