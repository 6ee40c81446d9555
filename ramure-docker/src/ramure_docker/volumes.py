"""Tool sets as volumes: one for each kind of machine, filled once, and only ever read.

A volume is there before it is full, and cannot be renamed; so its last file says that it is.
Whoever fills one holds the only container of that name: the lock for all programs of an engine.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO

import anyio

from ramure._archive import pack
from ramure._work import to_end
from ramure.errors import MachineGone
from ramure.toolset import Progress, tell
from ramure_docker.container import inspect, remove
from ramure_docker.engine import Engine
from ramure_docker.errors import NameTaken

if TYPE_CHECKING:
    from docker import APIClient

KEY = "ramure.tools"
"""The label of such a volume: which set, for which kind of machine."""

MOUNTED = "/opt/ramure"
"""Where they are in containers, each in a folder of its key."""

COMPLETE = ".ramure-complete"
STALE = 900.0
"""Seconds after which whoever fills a volume has died."""

POLL = 0.5
CHUNK = 262_144


def volume_of(key: str) -> str:
    """The name of the volume of a tool set."""
    return f"ramure-tools-{key}"


def folder_of(key: str) -> str:
    """Where the tool set is in containers."""
    return f"{MOUNTED}/{key}"


async def ensure(
    engine: Engine,
    key: str,
    source: Path,
    *,
    image: str,
    labels: Mapping[str, str],
    progress: Progress = tell,
) -> None:
    """See that the volume of a tool set is there, and full.

    Args:
        engine: where.
        key: the set and the kind of machine.
        source: the set on this computer.
        image: any image that the engine has: a container of it is made, and never started.
        labels: of that container.
        progress: is told that it takes a while.

    Raises:
        MachineError: it cannot be filled: no space, above all.
    """
    told = False
    while (helper := await _lock(engine, key, image, labels)) is None:
        # Whoever has the lock may have died after the work.
        if await engine.call(lambda api: _is_full(api, _locking(key))):
            engine.full_volumes.add(key)
            return
        if not told:
            progress(f"waiting for another program, which puts {key} into a volume")
            told = True
        await anyio.sleep(POLL)
    try:
        if not await engine.call(lambda api: _is_full(api, helper)):
            progress(f"putting {key} into a volume of the Docker engine (once)")
            await engine.call(lambda api: _fill(api, helper, source), pool="docker-tools")
        engine.full_volumes.add(key)
    finally:
        await to_end(partial(remove, engine, helper, key), 30)


def _locking(key: str) -> str:
    """The name of the container that is the lock."""
    return f"{volume_of(key)}-filling"


async def _lock(engine: Engine, key: str, image: str, labels: Mapping[str, str]) -> str | None:
    """The id of the one container that may fill the volume; None where somebody else does."""
    name = _locking(key)
    made: list[str] = []

    def make(api: APIClient) -> None:
        api.create_volume(volume_of(key), labels={KEY: key})
        config = api.create_host_config(binds=[f"{volume_of(key)}:{MOUNTED}"])
        created = api.create_container(
            image, "true", name=name, labels=dict(labels), host_config=config
        )
        made.append(created["Id"])

    try:
        await engine.call(make, key)
    except NameTaken:
        await _remove_if_stale(engine, name)
        return None
    except BaseException:
        for id_ in made:
            await to_end(partial(remove, engine, id_, name))
        raise
    return made[0]


async def _remove_if_stale(engine: Engine, name: str) -> None:
    try:
        created = _seconds((await inspect(engine, name, name))["Created"])
    except MachineGone:
        return
    now = _seconds((await engine.ask("GET", "/info"))["SystemTime"])  # by its own clock
    if now - created > STALE:
        await remove(engine, name, name)


def _seconds(text: str) -> float:
    """A time as the engine writes it: to the nanosecond, which is more than Python reads."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text)).timestamp()


def _is_full(api: APIClient, helper: str) -> bool:
    from docker.errors import NotFound

    try:
        stream, _ = api.get_archive(helper, f"{MOUNTED}/{COMPLETE}")
    except NotFound:
        return False
    for _ in stream:
        pass
    return True


def _fill(api: APIClient, helper: str, source: Path) -> None:
    """Stream the set into the volume, and at last the file that says so. Blocking."""
    reader, writer = os.pipe()
    with open(reader, "rb") as incoming, open(writer, "wb") as outgoing:  # noqa: PTH123 descriptors
        failed: list[BaseException] = []
        packing = Thread(target=_pack, args=(source, outgoing, failed), name="packing a tool set")
        packing.start()
        try:
            api.put_archive(helper, MOUNTED, iter(partial(incoming.read, CHUNK), b""))
        finally:
            incoming.close()  # whoever still writes gets an error
            packing.join()
            # The engine only says that its archive broke off; and what the close broke is no news.
            if failed and not isinstance(failed[0], BrokenPipeError):
                raise failed[0]
    api.put_archive(helper, MOUNTED, _mark())


def _pack(source: Path, target: BinaryIO, failed: list[BaseException]) -> None:
    try:
        with target:
            pack(source, target)
    except Exception as error:  # noqa: BLE001 raised by whoever waits for the thread
        failed.append(error)


def _mark() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(COMPLETE))
    return buffer.getvalue()


async def there(engine: Engine, keys: Collection[str]) -> set[str]:
    """Those of the sets that the engine has a full volume of, as far as this program knows."""
    if not keys:
        return set()
    found = await engine.call(lambda api: api.volumes(filters={"label": KEY}))
    names = {volume["Name"] for volume in found["Volumes"] or []}
    return {key for key in keys if key in engine.full_volumes and volume_of(key) in names}


async def unused(engine: Engine) -> list[str]:
    """The volumes of tool sets that no container mounts."""

    def look(api: APIClient) -> list[str]:
        found = api.volumes(filters={"label": KEY, "dangling": True})
        return sorted(volume["Name"] for volume in found["Volumes"] or [])

    return await engine.call(look)


async def forget(engine: Engine, volume: str) -> bool:
    """Remove a volume; False where somebody mounts it after all."""
    from docker.errors import APIError

    def do(api: APIClient) -> bool:
        try:
            api.remove_volume(volume)
        except APIError as error:
            return error.status_code == 404  # it is gone
        return True

    return await engine.call(do)
