"""Tool sets as volumes: one for each kind of machine, filled once, and only ever read.

A volume is there before it is full, and cannot be renamed; so its last file says that it is.
Whoever fills one holds the only container of that name: the lock for all programs of an engine. As
all containers it ends with the program that made it, however that ends.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
from anyio import from_thread

from ramure._archive import pack
from ramure.errors import LinkBroken, MachineGone, MachineStartFailed
from ramure.machine import Machine
from ramure.toolset import Platform, Progress, tell
from ramure_docker.container import inspect, remove
from ramure_docker.engine import Engine
from ramure_docker.errors import NameTaken

if TYPE_CHECKING:
    from docker import APIClient

KEY, NAME = "ramure.tools", "ramure.tools.name"
PLATFORM, NODE = "ramure.tools.platform", "ramure.tools.node"
"""The labels of such a volume: what is in it, for which kind of machine; and its Node.js."""

MOUNTED = "/opt/ramure"
"""Where they are in containers, each in a folder of its key; ``guard.sh`` looks there."""

COMPLETE = ".ramure-complete"

NEVER_RAN = 60.0
"""Seconds after which whoever made a lock and did not start it has died."""

FILLED_WITHIN = 1800.0
"""Seconds that another program may take to fill a volume: some 200 MB over a slow line."""

POLL = 0.5
CHUNK = 262_144


@dataclass(frozen=True, slots=True)
class Volume:
    """The volume of a tool set, for one kind of machine; whether or not there is one yet.

    Attributes:
        key: what the set is called for such machines.
        name: the set's own name.
        platform: the kind of machine.
        node: path of a Node.js in it.
    """

    key: str
    name: str
    platform: Platform
    node: str

    @property
    def volume(self) -> str:
        """The engine's name for it."""
        return f"ramure-tools-{self.key}"

    @property
    def lock(self) -> str:
        """The name of the container of whoever fills it."""
        return f"{self.volume}-filling"

    @property
    def folder(self) -> str:
        """Where the set is in containers."""
        return f"{MOUNTED}/{self.key}"

    @property
    def labels(self) -> dict[str, str]:
        """What says all this."""
        kind = self.platform
        words = f"{kind.system} {kind.arch} {kind.libc}".strip()
        return {KEY: self.key, NAME: self.name, PLATFORM: words, NODE: self.node}

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Volume:
        """What labels say.

        Raises:
            KeyError, ValueError: nothing that makes sense.
        """
        return cls(labels[KEY], labels[NAME], Platform.read(labels[PLATFORM]), labels[NODE])

    def as_mount(self) -> Any:
        """As the SDK mounts it, to be read. Where it has been removed, an empty one comes."""
        from docker.types import Mount

        return Mount(
            self.folder, self.volume, read_only=True, no_copy=True, labels=dict(self.labels)
        )


async def ensure(
    engine: Engine,
    wanted: Volume,
    source: Path,
    *,
    lock: Callable[[Volume], Awaitable[tuple[Machine, bool]]],
    progress: Progress = tell,
) -> None:
    """See that the volume of a tool set is there, and full.

    Args:
        engine: where.
        wanted: the volume.
        source: the set on this computer.
        lock: makes the container that fills it, which ends with this program, and says whether it
            is full already; raises ``NameTaken`` where there is one.
        progress: is told that it takes a while.

    Raises:
        MachineError: it cannot be filled: no space, above all.
    """
    helper, full = await _locked(engine, wanted, lock, progress)
    try:
        if not full:
            progress(f"putting {wanted.key} into a volume of the Docker engine (once)")
            fill = partial(_fill, container=wanted.lock, folder=wanted.folder, source=source)
            await engine.call(fill, pool="docker-tools")
    finally:
        await helper.destroy()


async def _locked(
    engine: Engine,
    wanted: Volume,
    lock: Callable[[Volume], Awaitable[tuple[Machine, bool]]],
    progress: Progress,
) -> tuple[Machine, bool]:
    told = False
    deadline = anyio.current_time() + FILLED_WITHIN
    while True:
        made = {"Name": wanted.volume, "Labels": wanted.labels}
        await engine.ask("POST", "/volumes/create", made)
        try:
            return await lock(wanted)
        except NameTaken:
            if anyio.current_time() > deadline:
                what = f"another program has been filling a volume for {FILLED_WITHIN:g} s"
                cure = f"`docker rm -f {wanted.lock}` ends it"
                raise MachineStartFailed(f"{what} ({cure})") from None
        if not told:
            progress(f"waiting for another program, which puts {wanted.key} into a volume")
            told = True
        await _remove_if_stale(engine, wanted.lock)
        await anyio.sleep(POLL)


async def _remove_if_stale(engine: Engine, name: str) -> None:
    """A container that runs ends with whoever made it; one that has never run does not."""
    try:
        found = await inspect(engine, name, name)
    except (MachineGone, LinkBroken):  # nothing is said of it while something is copied into it
        return
    now = _seconds((await engine.ask("GET", "/info"))["SystemTime"])  # by its own clock
    if not found["State"]["Running"] and now - _seconds(found["Created"]) > NEVER_RAN:
        await remove(engine, str(found["Id"]), name)


def _seconds(text: str) -> float:
    """A time as the engine writes it: to the nanosecond, which is more than Python reads."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text)).timestamp()


def _fill(api: APIClient, *, container: str, folder: str, source: Path) -> None:
    """Stream the set into the volume, and at last the file that says so. Blocking."""
    reader, writer = os.pipe()
    with open(reader, "rb") as incoming, open(writer, "wb") as outgoing:  # noqa: PTH123 descriptors
        failed: list[BaseException] = []
        packing = Thread(target=_pack, args=(source, outgoing, failed), name="packing a tool set")
        packing.start()
        try:
            api.put_archive(container, folder, _chunks(incoming))
        finally:
            incoming.close()  # whoever still writes gets an error
            packing.join()
            # The engine only says that its archive broke off; and what the close broke is no news.
            if failed and not isinstance(failed[0], BrokenPipeError):
                raise failed[0]
    api.put_archive(container, folder, _mark())


def _chunks(incoming: BinaryIO) -> Iterator[bytes]:
    while chunk := incoming.read(CHUNK):
        from_thread.check_cancelled()
        yield chunk


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


async def kept(engine: Engine) -> list[Volume]:
    """The volumes that there are, full or not."""
    found = []
    for entry in await _list(engine):
        with suppress(KeyError, ValueError, TypeError):
            volume = Volume.of(entry["Labels"])
            if volume.volume == entry["Name"]:
                found.append(volume)
    return found


async def unused(engine: Engine) -> list[str]:
    """The volumes of tool sets that no container mounts."""
    return sorted(entry["Name"] for entry in await _list(engine, dangling=["true"]))


async def _list(engine: Engine, **filters: list[str]) -> list[dict[str, Any]]:
    wanted = json.dumps({"label": [KEY], **filters})
    found = await engine.ask("GET", "/volumes", filters=wanted)
    return found["Volumes"] or []


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
