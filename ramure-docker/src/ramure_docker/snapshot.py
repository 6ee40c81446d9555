"""A container's files as an image, without what belongs to the run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ramure_docker.container import Container
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

    def commit(api: APIClient) -> str:
        said: dict[str, Any] = api.inspect_container(container.id)
        origin: dict[str, Any] = api.inspect_image(said["Image"])  # type: ignore[no-untyped-call]
        repository, _, tag = (reference or "").partition(":")
        # Not paused meanwhile: that would look like a hand that pauses it.
        made = api.commit(
            container.id,
            repository or None,
            tag or None,
            pause=False,
            changes=_changes(origin["Config"], image, said["Config"]["Labels"], label),
        )
        return str(made["Id"])

    id_ = await container.engine.call(commit, container.name, pool="docker-commits")
    return replace(image, reference=reference or id_, pull="never")


def _changes(
    origin: dict[str, Any], image: DockerImage, labels: dict[str, str], label: str
) -> list[str]:
    """The image's own commands again, and nothing of the run's environment and labels."""
    before = dict(pair.partition("=")[::2] for pair in origin.get("Env") or [])
    ours = [name for name in labels if name not in (origin.get("Labels") or {})]
    return [
        f"ENTRYPOINT {json.dumps(origin.get('Entrypoint') or [])}",
        f"CMD {json.dumps(origin.get('Cmd') or [])}",
        *(f"ENV {name}={json.dumps(before.get(name, ''))}" for name in image.env),
        *(f'LABEL {name}=""' for name in ours),
        f'LABEL {label}="true"',
    ]


async def unused_forks(engine: Engine) -> list[str]:
    """The ids of images that forks were made from, and that no container uses any more."""

    def look(api: APIClient) -> list[str]:
        used = {entry["ImageID"] for entry in api.containers(all=True)}
        found = api.images(filters={"label": FORK}, all=True)
        return [entry["Id"] for entry in found if entry["Id"] not in used]

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
