"""Seeing that the engine has an image: pulled where it lacks it, with progress for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from ramure._work import in_thread
from ramure.errors import MachineError
from ramure.toolset import tell
from ramure_docker.engine import Engine
from ramure_docker.errors import EngineUnavailable, ImageNotFound, NoSpace
from ramure_docker.image import DockerImage

ALIASES = {"aarch64": "arm64", "x86_64": "amd64"}
"""Processors by the names that people use, and by the engine's."""

EVERY = 2.0
"""Seconds between two lines of progress."""

REFUSED = ("denied", "unauthorized", "no basic auth credentials", "authentication required")
"""What a registry, and the engine for it, says where it wants to know who asks."""


async def ensure(engine: Engine, image: DockerImage) -> str:
    """See that the image is there, as ``image.pull`` says; give its id.

    Raises:
        ImageNotFound: there is none, or it may not be had.
        MachineError: as ``Engine.call``.
    """
    found = await _find(engine, image.reference)
    fits = found is not None and _fits(found, image.platform)
    if found is not None and fits and image.pull != "always":
        return str(found["Id"])
    if image.pull == "never":
        other = f" but one for {'/'.join(_platform(found))}" if found is not None else ""
        wanted = f" for {image.platform}" if image.platform else ""
        raise ImageNotFound(
            f"the engine has no image {image.reference!r}{wanted}{other}, and pull='never' forbids"
            " to get it"
        )
    await _pull(engine, image)
    if found := await _find(engine, image.reference):
        return str(found["Id"])
    raise ImageNotFound(f"there is no image {image.reference!r}")


async def _find(engine: Engine, reference: str) -> dict[str, Any] | None:
    """What the engine knows of an image."""
    try:
        found: dict[str, Any] = await engine.ask("GET", f"/images/{reference}/json")
    except ImageNotFound:
        return None
    return found


def _platform(found: Mapping[str, Any]) -> list[str]:
    parts = (found.get("Os"), found.get("Architecture"), found.get("Variant"))
    return [str(part) for part in parts if part]


def _fits(found: Mapping[str, Any], platform: str | None) -> bool:
    """Whether an image is for the platform that is wanted, so far as both say it."""
    wanted = [ALIASES.get(part, part) for part in (platform or "").lower().split("/") if part]
    return all(part in _platform(found) for part in wanted[:2])


async def _pull(engine: Engine, image: DockerImage) -> None:
    from docker.utils import parse_repository_tag

    reference = image.reference
    repository, tag = parse_repository_tag(reference)
    login = await in_thread(partial(_login, repository), pool="docker-logins")
    query = {"fromImage": repository, "tag": tag or "latest"}
    if image.platform:
        query["platform"] = image.platform
    tell(f"pulling {reference}")
    try:
        await engine.work("/images/create", Progress(reference).hear, login, **query)
    except (EngineUnavailable, ImageNotFound, NoSpace):
        raise
    except MachineError as error:
        raise _refused(reference, str(error)) from error


def _login(repository: str) -> dict[str, str]:
    """The header that says who asks; read anew, so that a ``docker login`` counts at once.

    Blocking: the SDK reads Docker's own settings, and runs credential helpers.

    Raises:
        MachineError: there is a login, but it cannot be had.
    """
    from docker import auth
    from docker.credentials.errors import StoreError
    from docker.errors import DockerException

    try:
        registry, _ = auth.resolve_repository_name(repository)
        found = auth.load_config().resolve_authconfig(registry)
    except (DockerException, StoreError, OSError, ValueError) as error:
        raise MachineError(f"Docker's login for {repository!r} cannot be read: {error}") from error
    return {"X-Registry-Auth": auth.encode_header(found).decode()} if found else {}


class Progress:
    """Tells a person now and then how far a pull is."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._layers: dict[str, tuple[int, int]] = {}
        self._told = time.monotonic()

    def hear(self, line: Mapping[str, Any]) -> None:
        """Hear what the engine says.

        Raises:
            MachineError: it cannot pull the image.
        """
        if error := line.get("error"):
            raise _refused(self._reference, str(error))
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading" and detail.get("total"):
            self._layers[line["id"]] = (detail["current"], detail["total"])
        if self._layers and time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            here, whole = (sum(part) / 1e6 for part in zip(*self._layers.values(), strict=True))
            tell(f"pulling {self._reference}: {here:.0f} of {whole:.0f} MB")


def _refused(reference: str, words: str) -> MachineError:
    low = words.lower()
    if "no space left" in low:
        return NoSpace(f"there is no room for {reference!r} on the engine's disk: {words}")
    if any(words in low for words in REFUSED):
        cure = "or it does not exist; `docker login` may help"
        return ImageNotFound(f"the image {reference!r} may not be pulled, {cure}: {words}")
    return ImageNotFound(f"the image {reference!r} cannot be pulled: {words}")
