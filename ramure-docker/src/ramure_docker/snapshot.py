"""A container's files as an image, without what belongs to the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ramure_docker.container import Container, inspect
from ramure_docker.engine import Engine
from ramure_docker.image import DockerImage

if TYPE_CHECKING:
    from docker import APIClient

SNAPSHOT, FORK = "ramure.snapshot", "ramure.fork"
"""Labels: of what somebody has asked for, and of what only a fork is made from."""


async def snapshot(
    container: Container, image: DockerImage, reference: str | None, *, label: str = SNAPSHOT
) -> DockerImage:
    """See ``DockerMachine.snapshot``."""
    from docker.utils import parse_repository_tag

    engine, name = container.engine, container.name
    said = await inspect(engine, container.id, name)
    origin = await engine.ask("GET", f"/images/{said['Image']}/json", machine=name)
    repository, tag = parse_repository_tag(reference or "")
    # Not paused meanwhile: that would look like a hand that pauses it. It may take its time.
    made = await engine.ask(
        "POST",
        "/commit",
        _config(origin["Config"], image, said["Config"]["Labels"], label),
        machine=name,
        pool="docker-commits",
        patience=math.inf,
        container=container.id,
        repo=repository,
        tag=tag or "",
        pause=0,
    )
    return replace(image, reference=reference or made["Id"], pull="never")


def _config(
    origin: dict[str, Any], image: DockerImage, labels: Mapping[str, str], label: str
) -> dict[str, Any]:
    """The image's own settings again, and nothing of the run's environment and labels.

    The engine adds from the container what is missing here. So what was not there before is empty.
    """
    before = dict(pair.partition("=")[::2] for pair in origin.get("Env") or [])
    own = origin.get("Labels") or {}
    blank = dict.fromkeys([*labels, SNAPSHOT, FORK], "")
    return {
        **origin,
        "Entrypoint": origin.get("Entrypoint") or [],
        "Cmd": origin.get("Cmd") or [],
        "Env": [f"{key}={value}" for key, value in (dict.fromkeys(image.env, "") | before).items()],
        "Labels": blank | own | {SNAPSHOT: "", FORK: "", label: "true"},
    }


async def unused_forks(engine: Engine) -> list[str]:
    """The ids of images that forks were made from, and that no container uses any more."""

    def look(api: APIClient) -> list[str]:
        used = {entry["ImageID"] for entry in api.containers(all=True)}
        found = api.images(filters={"label": f"{FORK}=true"}, all=True)
        return [
            entry["Id"]
            for entry in found
            # A snapshot of a fork that a former version made carries both.
            if entry["Id"] not in used and not entry["Labels"].get(SNAPSHOT)
        ]

    return await engine.call(look)


async def forget(engine: Engine, id_: str) -> bool:
    """Remove an image; False where somebody uses it after all."""
    from docker.errors import APIError

    def do(api: APIClient) -> bool:
        try:
            api.remove_image(id_)
        except APIError as error:
            return error.status_code == 404  # it is gone
        return True

    return await engine.call(do)
