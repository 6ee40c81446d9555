"""What a test's runs have left: processes, machines, files. Counted, told, and then removed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ramure import paths
from ramure._disk import remove_tree
from ramure.errors import PluginError, RamureError
from ramure.machine import Backend
from ramure.placement import read_host
from ramure.plugins import Plugins, resolve
from ramure.testing._stage import processes_with
from ramure.testing.memory import NAME, MemoryBackend

MARK = "RAMURE_TEST"
"""The environment variable that all that a test starts inherits."""

PATIENCE = 10.0
"""Seconds in which what is about to end may do so: a killed run's keeper needs a moment."""


class Place:
    """A home and a folder for temporary files, of one test's own.

    Their paths are short, because unix sockets' have to be.

    Attributes:
        home: what ``RAMURE_HOME`` is.
        temporary: what ``TMPDIR`` is.
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="ramure-"))
        self.home, self.temporary = self._root / "home", self._root / "tmp"
        self.temporary.mkdir()
        self.mark = secrets.token_hex(8)

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Have all that starts now be here, and be known by its mark.

        Tool sets and caches are the person's own: they are the same for all, and take long to make.
        """
        tools = paths.make_private(paths.tools())
        paths.make_private(self.home)
        (self.home / "tools").symlink_to(tools)
        patch.setenv("RAMURE_HOME", str(self.home))
        patch.setenv("TMPDIR", str(self.temporary))
        patch.setattr(tempfile, "tempdir", str(self.temporary))
        patch.setenv(MARK, self.mark)

    def leftovers(self) -> list[str]:
        """What is left; each in words. Where nothing was ever run, nobody looks."""
        if {path.name for path in self.home.iterdir()} == {"tools"}:
            return []
        left = [*self._processes(), *self._machines(), *self._files()]
        return sorted(left)

    def clear(self) -> None:
        """End and remove what is left."""
        for pid in processes_with(self._needle):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        remove_tree(self._root)

    @property
    def _needle(self) -> str:
        return f"{MARK}={self.mark}"

    def _processes(self) -> Iterator[str]:
        deadline = time.monotonic() + PATIENCE
        while (found := processes_with(self._needle)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, said in found.items():
            yield f"process {pid}: {said.partition(MARK)[0].strip()}"

    def _files(self) -> Iterator[str]:
        for path in self.home.glob("runtimes/*"):
            kind = "socket" if path.is_socket() or path.is_symlink() else "files of a run"
            yield f"{kind}: {path}"
        for path in self.temporary.iterdir():
            yield f"temporary file: {path}"

    def _machines(self) -> list[str]:
        """What the backends know of the machines that were made; they are removed, too."""
        made = {(log.parent.name, host) for log in self._logs() for host in _hosts(log)}
        if not made:
            return []
        with ThreadPoolExecutor(1) as thread:  # a loop of its own: the test's may still be there
            return thread.submit(lambda: asyncio.run(_remove(made))).result()

    def _logs(self) -> Iterator[Path]:
        return self.home.glob("logs/*/_runtime.jsonl")


def _hosts(log: Path) -> set[str]:
    """Where the machines of a run were made, by its log."""
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return {event["data"]["host"] for event in events if event["type"] == "machine_starting"}


async def _remove(made: set[tuple[str, str]]) -> list[str]:
    left = []
    for run, text in sorted(made):
        host = read_host(text)
        if (backend := _backend(host.backend)) is None:
            continue
        try:
            for ref in await backend.find({"ramure.run": run}, host=host):
                left.append(f"machine {ref.name} on {text}, of the run {run}")
                await backend.destroy(ref)
        except (RamureError, OSError) as error:
            left.append(f"machines on {text}, of the run {run}: nobody knows: {error}")
        finally:
            await backend.aclose()
    return left


def _backend(name: str) -> Backend | None:
    """A backend; None where its plugin was there for the test only."""
    if name == NAME:
        return MemoryBackend()
    try:
        backend: Backend = resolve(Plugins.load().backend(name).load)()
    except PluginError:
        return None
    return backend
