"""What a container may use and what it sees: a ``DockerImage`` as the SDK's host configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any

from ramure.errors import PlacementError
from ramure_docker.image import DockerImage
from ramure_docker.volumes import Volume

STATE = "/run/ramure"
"""In memory: what a run keeps in a container never reaches a disk, nor a snapshot."""

NAMED = {
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "device_requests": "gpus",
    "dns": "dns",
    "extra_hosts": "extra_hosts",
    "init": "init",
    "mem_limit": "memory",
    "nano_cpus": "cpus",
    "network_mode": "network",
    "pids_limit": "pids",
    "privileged": "privileged",
    "read_only": "read_only",
    "security_opt": "security_opt",
    "shm_size": "shm",
}
"""The SDK's names of what a ``DockerImage`` has options for, and these."""

OURS = {"auto_remove", "restart_policy"}
"""A container removes itself when its lease is over, and never comes again."""


def host_config(image: DockerImage, sets: Collection[Volume] = ()) -> dict[str, Any]:
    """The arguments of ``create_host_config``. Blocking: imports the SDK.

    Args:
        image: what is asked for.
        sets: volumes of tool sets, which can only be read.

    Raises:
        PlacementError: something in it makes no sense.
    """
    from docker.constants import DEFAULT_DOCKER_API_VERSION
    from docker.errors import DockerException
    from docker.types import HostConfig

    try:
        _check_options(image, set(signature(HostConfig.__init__).parameters))
        given = _given(image, sets)
        _check_targets(image, given)
        HostConfig(DEFAULT_DOCKER_API_VERSION, **given)
    except (DockerException, TypeError, ValueError, AttributeError) as error:
        raise PlacementError(f"DockerImage({image.reference!r}): {error}") from error
    return given


def _check_options(image: DockerImage, known: set[str]) -> None:
    for name in image.options:
        if named := NAMED.get(name):
            raise ValueError(f"options={{{name!r}: …}} is said by {named}=")
        if name in OURS:
            raise ValueError(f"options={{{name!r}: …}} is ramure's to say: the lease ends it")
        if name not in known - {"self", "version"}:
            raise ValueError(f"options: create_host_config of the docker SDK takes no {name!r}")


def _given(image: DockerImage, sets: Collection[Volume]) -> dict[str, Any]:
    options = dict(image.options)
    given = {
        "auto_remove": True,
        "init": image.init,
        "tmpfs": {STATE: "rw,exec,nosuid,nodev,mode=1777", **_tmpfs(options.pop("tmpfs", None))},
        "nano_cpus": None if image.cpus is None else round(image.cpus * 1e9),
        "mem_limit": image.memory,
        "memswap_limit": image.memory,
        "pids_limit": image.pids,
        "shm_size": image.shm,
        "device_requests": _gpus(image),
        "binds": [
            *_binds(image.volumes),
            *_more_binds(options.pop("binds", None)),
        ],
        "mounts": [
            *_mounts(image),
            *(options.pop("mounts", None) or []),
            *(volume.as_mount() for volume in sets),
        ],
        "network_mode": image.network,
        "extra_hosts": dict(image.extra_hosts),
        "dns": list(image.dns),
        "read_only": image.read_only,
        "cap_add": list(image.cap_add),
        "cap_drop": list(image.cap_drop),
        "security_opt": list(image.security_opt),
        "privileged": image.privileged,
    }
    return {key: value for key, value in given.items() if value not in (None, [], {})} | options


def _check_targets(image: DockerImage, given: Mapping[str, Any]) -> None:
    """Nothing of the image's lies over the state folder: it would take what is secret to a disk."""
    for target in _targets(image, given):
        if PurePosixPath(STATE) in (path := PurePosixPath(target), *path.parents):
            raise ValueError(f"nothing can be mounted at {target}: {STATE} is the run's own")


def _targets(image: DockerImage, given: Mapping[str, Any]) -> Iterator[str]:
    yield from _tmpfs(image.options.get("tmpfs"))
    yield from (bind.split(":")[1] for bind in given.get("binds", ()) if ":" in bind)
    yield from (str(mount.get("Target", "")) for mount in given.get("mounts", ()))


def _tmpfs(option: Any) -> dict[str, str]:
    """As the SDK takes it: a mapping, or a list of ``/path`` and ``/path:options``."""
    if option is None or isinstance(option, Mapping):
        return dict(option or {})
    return {path: rest for path, _, rest in (str(text).partition(":") for text in option)}


def _gpus(image: DockerImage) -> list[dict[str, Any]]:
    if image.gpus is None:
        return []
    request: dict[str, Any] = {"capabilities": [["gpu"]]}
    if image.gpus == "all" or isinstance(image.gpus, int):
        request["count"] = -1 if image.gpus == "all" else image.gpus
    else:
        request["device_ids"] = list(image.gpus)
    return [request]


def _binds(volumes: Mapping[str, str]) -> list[str]:
    """Folders of this computer by their absolute paths; other sources are volumes' names."""
    binds = []
    for source, target in volumes.items():
        here = source.startswith(("/", ".", "~"))
        path = str(Path(source).expanduser().absolute()) if here else source
        binds.append(f"{path}:{target}")
    return binds


def _more_binds(option: Any) -> list[str]:
    """As the SDK takes them: a list, or a mapping of sources to where and how."""
    from docker.utils import convert_volume_binds

    return list(convert_volume_binds(option)) if isinstance(option, Mapping) else list(option or [])


def _mounts(image: DockerImage) -> list[Any]:
    from docker.types import Mount

    return [Mount(**mount) for mount in image.mounts]
