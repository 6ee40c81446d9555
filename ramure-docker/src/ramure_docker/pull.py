"""Seeing that the engine has an image: pulled where it lacks it, with progress for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from anyio import from_thread

from ramure.errors import MachineError
from ramure.toolset import tell
from ramure_docker.engine import Engine
from ramure_docker.errors import ImageNotFound, NoSpace
from ramure_docker.image import DockerImage

if TYPE_CHECKING:
    from docker import APIClient

ALIASES = {"aarch64": "arm64", "x86_64": "amd64"}
"""Processors by the names that people use, and by the engine's."""

EVERY = 2.0
"""Seconds between two lines of progress."""


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
    await engine.call(lambda api: _pull(api, image), pool="docker-pulls")
    if found := await _find(engine, image.reference):
        return str(found["Id"])
    raise ImageNotFound(f"there is no image {image.reference!r}")


async def _find(engine: Engine, reference: str) -> dict[str, Any] | None:
    """What the engine knows of an image."""
    from docker.errors import ImageNotFound as NotThere

    def look(api: APIClient) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = api.inspect_image(reference)  # type: ignore[no-untyped-call]
        except NotThere:
            return None
        return found

    return await engine.call(look)


def _platform(found: Mapping[str, Any]) -> list[str]:
    parts = (found.get("Os"), found.get("Architecture"), found.get("Variant"))
    return [str(part) for part in parts if part]


def _fits(found: Mapping[str, Any], platform: str | None) -> bool:
    """Whether an image is for the platform that is wanted, so far as both say it."""
    wanted = [ALIASES.get(part, part) for part in (platform or "").lower().split("/") if part]
    return all(part in _platform(found) for part in wanted[:2])


def _pull(api: APIClient, image: DockerImage) -> None:
    from docker.errors import APIError

    reference = image.reference
    try:
        # The SDK reads Docker's own settings and credential helpers.
        lines = api.pull(reference, stream=True, decode=True, platform=image.platform)
        _follow(reference, lines)
    except APIError as error:
        raise _refused(reference, str(error.explanation or error)) from error


def _follow(reference: str, lines: Iterable[Mapping[str, Any]]) -> None:
    layers: dict[str, tuple[int, int]] = {}
    tell(f"pulling {reference}")
    told = time.monotonic()
    for line in lines:
        from_thread.check_cancelled()
        if error := line.get("error"):
            raise _refused(reference, str(error))
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading" and detail.get("total"):
            layers[line["id"]] = (detail["current"], detail["total"])
        if layers and time.monotonic() - told > EVERY:
            told = time.monotonic()
            here, whole = (sum(part) / 1e6 for part in zip(*layers.values(), strict=True))
            tell(f"pulling {reference}: {here:.0f} of {whole:.0f} MB")


def _refused(reference: str, words: str) -> MachineError:
    low = words.lower()
    if "no space left" in low:
        return NoSpace(f"there is no room for {reference!r} on the engine's disk: {words}")
    if "denied" in low or "unauthorized" in low:
        cure = "or it does not exist; `docker login` may help"
        return ImageNotFound(f"the image {reference!r} may not be pulled, {cure}: {words}")
    return ImageNotFound(f"the image {reference!r} cannot be pulled: {words}")
