"""What is asked of Modal itself: apps, images, sandboxes and their tags. Imports the SDK."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio
import modal
from modal.exception import ImageBuildError, NotFoundError

from ramure._work import to_end
from ramure.backends._marks import kill_script
from ramure.cancellation import Job, outlast
from ramure.errors import MachineStartFailed
from ramure_modal import errors
from ramure_modal.image import LONGEST, ModalImage
from ramure_modal.sandbox import terminate
from ramure_modal.scripts import script
from ramure_modal.sdk import call

APP = "ramure"
"""The app of sandboxes whose host names none."""

ANSWER = 20.0
"""Seconds in which Modal answers a question, its SDK's own attempts included."""

CREATION = 120.0
"""Seconds in which Modal takes the order for a sandbox."""

ROOM = 5.0
"""Seconds in which Modal takes the order for a sandbox with graphics. After that it looks for room,
which is no use to somebody who has been cancelled."""

BUILD = 3600.0
"""Seconds in which Modal builds an image."""

LAST = 100
"""Lines of a build's log that are told."""


def tags(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as tags: Modal takes letters, digits and ``-_.``, 63 of them at most."""
    return {_tag(name): _tag(value) for name, value in labels.items()}


def _tag(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63]


async def find_app(name: str | None, *, create: bool) -> modal.App | None:
    """The app of this name; None where there is none and none is to be made.

    Raises:
        MachineStartFailed: Modal cannot be used, and why.
    """
    try:
        with anyio.fail_after(ANSWER):
            return await call(modal.App.lookup.aio, name or APP, create_if_missing=create)
    except NotFoundError:
        return None
    except Exception as error:
        raise errors.start_failed(error, "") from error


def layers(image: ModalImage) -> modal.Image:
    """The image as the SDK has it, to be built."""
    source = image.source
    if source is None:
        return modal.Image.debian_slim()
    if isinstance(source, modal.Image):
        return source
    if source.startswith("im-"):
        return modal.Image.from_id(source)
    secret = image.registry_secret
    return modal.Image.from_registry(
        source,
        secret=modal.Secret.from_name(secret) if isinstance(secret, str) else secret,
        add_python=image.add_python,
    )


async def build(image: modal.Image, app: modal.App, machine: str) -> modal.Image:
    """Build an image; at once where Modal has it.

    Raises:
        ImageBuildFailed: it cannot be built; with the log.
        MachineStartFailed: Modal cannot be used, and why.
    """
    try:
        with anyio.fail_after(BUILD):
            return await call(image.build.aio, app)
    except ImageBuildError as error:
        log = await _log(image)
        text = f"Modal cannot build the image: {str(error).splitlines()[0]}"
        raise errors.ImageBuildFailed(text, machine=machine, log=log) from error
    except Exception as error:
        raise errors.start_failed(error, machine) from error


async def _log(image: modal.Image) -> str:
    lines: list[str] = []

    async def tail() -> None:
        async for entry in image.logs.tail.aio(LAST):
            lines.append(str(entry))  # noqa: PERF401 what came before an error is kept

    try:
        with anyio.move_on_after(ANSWER):
            await call(tail)
    except Exception as error:  # noqa: BLE001 the build's failure is the one worth telling
        lines.append(f"(its log cannot be had: {error})")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


async def create(
    app: modal.App,
    image: ModalImage,
    built: modal.Image,
    name: str,
    labels: Mapping[str, str],
    lease_file: str,
) -> modal.Sandbox:
    """Make a sandbox. Cancelled in the middle, or failed, it leaves none.

    Raises:
        MachineStartFailed: Modal refuses, and why.
    """
    options = arguments(image)
    lease = str(max(2, round(image.lease)))
    command = script("watchdog", lease_file, lease, kill_script())
    made: list[modal.Sandbox] = []

    async def order() -> None:
        make = partial(modal.Sandbox.create.aio, app=app, image=built, name=name)
        made.append(await call(make, *command, tags=tags(labels), **options))

    patience, once_cancelled = CREATION, CREATION
    if image.gpu is not None:
        patience, once_cancelled = max(CREATION, image.start_timeout), ROOM
    try:
        await _to_end(order, patience, once_cancelled)
    except BaseException as error:
        await to_end(partial(_undo, app, made, name, labels), CREATION)
        if isinstance(error, Exception):
            raise errors.start_failed(error, name) from error
        raise
    if not made:
        await to_end(partial(_undo, app, made, name, labels), CREATION)
        raise errors.no_answer(image, patience, name)
    return made[0]


async def _to_end(
    order: Callable[[], Awaitable[None]], seconds: float, once_cancelled: float
) -> None:
    """See ``to_end``; it gets no more than ``once_cancelled`` seconds from a cancellation on."""
    patience = anyio.move_on_after(seconds, shield=True)

    async def bounded() -> None:
        with patience:
            await order()

    def hurry() -> None:
        patience.deadline = min(patience.deadline, anyio.current_time() + once_cancelled)

    job = Job(bounded)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run)
        await outlast(job.done, hurry)
    job.outcome()


async def _undo(
    app: modal.App, made: list[modal.Sandbox], name: str, labels: Mapping[str, str]
) -> None:
    """End what may have been made, though nobody told."""
    if not made:
        try:
            made = await call(_list, app, labels)
        except Exception:  # noqa: BLE001 the first failure is the one worth telling; tags find it
            return
    for sandbox in made:
        await terminate(sandbox, name)


def arguments(image: ModalImage) -> dict[str, Any]:
    """What ``modal.Sandbox.create`` is told, besides image, name and tags.

    Raises:
        MachineStartFailed: the lifetime is not one that Modal grants.
    """
    if not 0 < image.timeout <= LONGEST:
        raise MachineStartFailed(
            f"ModalImage(timeout={image.timeout}): Modal's sandboxes live from 1 s to {LONGEST} s"
        )
    secrets = [modal.Secret.from_name(s) if isinstance(s, str) else s for s in image.secrets]
    volumes = {
        path: modal.Volume.from_name(volume) if isinstance(volume, str) else volume
        for path, volume in image.volumes.items()
    }
    return {
        "timeout": int(image.timeout),
        "idle_timeout": image.idle_timeout,
        "env": dict(image.env),
        "secrets": secrets,
        "cpu": image.cpu,
        "memory": image.memory,
        "gpu": image.gpu,
        "region": image.region,
        "cloud": image.cloud,
        "volumes": volumes,
        "block_network": image.block_network,
        "outbound_cidr_allowlist": image.outbound_cidr_allowlist,
        "outbound_domain_allowlist": image.outbound_domain_allowlist,
        **image.options,
    }


async def listed(app: modal.App, labels: Mapping[str, str]) -> list[modal.Sandbox]:
    """The sandboxes of an app that run and carry these labels.

    Raises:
        LinkBroken: Modal cannot be asked.
    """
    try:
        with anyio.fail_after(ANSWER):
            return await call(_list, app, labels)
    except Exception as error:
        raise errors.in_use(error, "") from error


async def _list(app: modal.App, labels: Mapping[str, str]) -> list[modal.Sandbox]:
    found = modal.Sandbox.list.aio(app_id=app.app_id, tags=tags(labels))
    return [sandbox async for sandbox in found]


async def marks(sandbox: modal.Sandbox) -> dict[str, str]:
    """A sandbox's tags.

    Raises:
        LinkBroken: Modal cannot be asked.
    """
    try:
        with anyio.fail_after(ANSWER):
            return await call(sandbox.get_tags.aio)
    except Exception as error:
        raise errors.in_use(error, "") from error


async def known(sandbox_id: str, machine: str) -> modal.Sandbox | None:
    """The sandbox of this id; None where Modal knows none.

    Raises:
        LinkBroken: Modal cannot be asked.
    """
    try:
        with anyio.fail_after(ANSWER):
            return await call(modal.Sandbox.from_id.aio, sandbox_id)
    except NotFoundError:
        return None
    except Exception as error:
        raise errors.in_use(error, machine) from error
