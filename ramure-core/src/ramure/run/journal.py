"""The log folder of a run: what happened, on disk before it is reported.

_runtime.jsonl      the events of all processes, mixed, and what concerns the run itself
{address}.jsonl     the events of one agent

``Journal`` writes the folder and gives each stream its log; ``read_log`` reads one file, by
whomever and whenever.
"""

from __future__ import annotations

import logging
import os
import resource
import time as clock
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ramure import paths
from ramure.errors import InvalidName
from ramure.events import Event, StoredEvents
from ramure.run.journal_lines import decode, encode, read_block, trace

RUNTIME = "_runtime"
"""The name of the log that all processes share."""

BLOCK = 64 * 1024
"""Bytes that are read at a time, and between two entries of an index at first."""

MAX_INDEX = 1024
"""Entries of one stream's index; then every other one goes."""

MAX_HELD = 16 * 1024 * 1024
"""Bytes of lines held in memory for one file while the disk refuses them."""

POLL = 0.1
"""Seconds between two looks at a log that is followed."""

MAX_NAME = 200
"""Bytes of an agent's address; file systems take 255 for a name with its ending."""

_log = logging.getLogger("ramure.journal")


class Journal:
    """Writes the log folder of one run.

    Args:
        folder: made owner-only where it is missing. Its files are owner-only in any case.

    Raises:
        OSError: the folder cannot be made, or is not the user's to write to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, _File] = {}
        self._descriptors = _Descriptors()
        self._readers = anyio.CapacityLimiter(4)
        if not folder.is_dir():
            paths.make_private(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"the log folder {folder} cannot be written to")

    def process_log(self, process: str) -> StoredEvents:
        """Where the events of this process are stored, among those of all others."""
        return _StreamLog(self._file(RUNTIME), self._readers, process=process)

    def agent_log(self, address: str) -> StoredEvents:
        """Where the events of this agent are stored: a file of its own.

        Raises:
            InvalidName: the address is no plain file name.
        """
        plain = address.isprintable() and not {"/", "\\"} & {*address}
        taken = address.casefold() == RUNTIME  # some file systems do not tell cases apart
        if not address or not plain or taken or address.startswith("."):
            raise InvalidName(f"an agent cannot be called {address!r}: its log is named after it")
        if len(os.fsencode(address)) > MAX_NAME:
            raise InvalidName(f"an agent's name of {len(address)} characters is too long")
        return _StreamLog(self._file(address), self._readers, agent=address)

    def record(self, type: str, data: Any = None) -> None:  # noqa: A002 as in Event
        """Write down something that concerns the run itself, and is no stream's event."""
        line, _ = encode(Event(type, data, time=clock.time()))
        self._file(RUNTIME).write(line)

    def close(self) -> None:
        """Let go of the files. Streams can still be read; what they emit is not stored."""
        for file in self._files.values():
            file.close()

    def _file(self, name: str) -> _File:
        if name not in self._files:
            self._files[name] = _File(self.folder / f"{name}.jsonl", self._descriptors)
        return self._files[name]


class _Descriptors:
    """Bounds how many logs are open at once; the one opened first makes room for another."""

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = 1024 if soft == resource.RLIM_INFINITY else min(1024, max(8, soft // 4))
        self._open: dict[_File, None] = {}

    def add(self, file: _File) -> None:
        while len(self._open) >= self._limit:
            next(iter(self._open)).release()
        self._open[file] = None

    def discard(self, file: _File) -> None:
        self._open.pop(file, None)


class _File:
    """One log that grows line by line.

    A line is written by one ``os.write`` on a kept descriptor, from the event loop, although that
    may block: such an append to the page cache takes about 1 µs, a tenth of what handing it to a
    thread would, and only so has a line left this program (and survives its ``kill -9``) by the
    time its event is reported.

    Where the disk refuses, lines are held in memory, in order, and tried again at each later one.
    """

    def __init__(self, path: Path, descriptors: _Descriptors) -> None:
        self.path = path
        self.written = 0  # bytes, by us
        self.held: deque[bytes] = deque()
        self._descriptors = descriptors
        self._descriptor = -1
        self._held_size = 0
        self._torn = 0  # bytes of the first held line that the disk took
        self._lost = 0
        self._begun = False
        self._troubled = False
        self._closed = False

    def write(self, line: bytes) -> bool:
        """Append a line. Never raises for what is wrong with the disk.

        Returns:
            False where it is neither on disk nor held, and is lost.
        """
        if (self._descriptor < 0 or self.held) and not self._ready():
            return self._hold(line)
        try:
            taken = os.write(self._descriptor, line)
        except OSError as error:
            self._warn(error)
            return self._hold(line)
        self.written += taken
        if taken < len(line):
            self._keep(line)  # whatever its size: the file has a part of it
            self._torn = taken
        return True

    def end(self) -> int:
        """Where our last line ends in the file; where none is written, where the file ends."""
        if self._descriptor >= 0:
            return os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def release(self) -> None:
        """Close the descriptor; the next line opens another."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._descriptors.discard(self)

    def close(self) -> None:
        """Write what is still held, if that can be, and write no more."""
        if self.held:
            self._ready()
        self.release()
        self._closed = True

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        self._descriptors.add(self)
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if not self._begun and end and os.pread(self._descriptor, 1, end - 1) != b"\n":
            self.held.appendleft(b"\n")  # ends the torn line of a run that crashed
            self._held_size += 1
        self._begun = True

    def _keep(self, line: bytes) -> None:
        self.held.append(line)
        self._held_size += len(line)

    def _hold(self, line: bytes) -> bool:
        """Hold a line that the disk refused, if there is room."""
        if self._closed:
            return False
        if self._held_size + len(line) > MAX_HELD:
            self._lost += 1
            return False
        self._keep(line)
        return True

    def _ready(self) -> bool:
        """Open the file and write what is held; True where the next line may follow."""
        if self._closed:
            return False
        try:
            if self._descriptor < 0:
                self._open()
            while self.held:
                self._write_first()
        except OSError as error:
            self._warn(error)
            return False
        self._recover()
        return not self.held

    def _write_first(self) -> None:
        line = self.held[0]
        taken = os.write(self._descriptor, line[self._torn :])
        self.written += taken
        self._torn += taken
        if self._torn == len(line):
            self.held.popleft()
            self._held_size -= len(line)
            self._torn = 0

    def _warn(self, error: OSError) -> None:
        """Tell of a trouble once, not at every line."""
        if not self._troubled:
            self._troubled = True
            _log.warning(
                "%s cannot be written (%s): the run goes on, its events stay in memory and are "
                "written once that is possible; make room on the disk",
                self.path,
                error.strerror,
            )

    def _recover(self) -> None:
        """All that was held is on disk: tell the log what could not be held."""
        self._troubled = False
        if self._lost:
            lost, self._lost = self._lost, 0
            self.write(encode(Event("events_lost", {"lines": lost}, time=clock.time()))[0])


class _StreamLog:
    """The events of one stream in a file: where they are, and how to get them back.

    The index is sparse: an entry at the first event ``BLOCK`` bytes of the file after the last
    one, whoever filled them. So a read starts close to what it looks for, in a file of its own and
    in one shared by many.
    """

    def __init__(
        self, file: _File, readers: anyio.CapacityLimiter, *, process: str = "", agent: str = ""
    ) -> None:
        self._file = file
        self._readers = readers
        self._process = process
        self._agent = agent
        self._trace = trace(process)
        self._last = 0
        # Entry i: all events from number _seqs[i] on lie at _offsets[i] and after.
        self._seqs = array("Q", [1])
        self._offsets = array("Q", [file.end()])
        self._spacing = BLOCK
        self._marked = file.written
        self._resume = (1, 0)  # the same, for where the last read ended

    def append(self, event: Event) -> tuple[int, bool]:
        """Store an event; see ``StoredEvents``."""
        line, faithful = encode(event)
        stored = self._file.write(line)
        self._last = event.seq
        if self._file.written - self._marked >= self._spacing and not self._file.held:
            self._mark(event.seq, len(line))
        return len(line), stored and faithful

    async def read(self, seq: int) -> list[Event]:
        """Some of the events with this number and above, in order."""
        held = [*self._file.held]  # as of now: they may be written while the file is read
        offset, last = self._offset(seq), self._last
        while self._file.written:
            events, end = await anyio.to_thread.run_sync(
                self._scan, offset, seq, last, abandon_on_cancel=True, limiter=self._readers
            )
            if events:
                if events[-1].seq < last:  # else the block may hold later ones, too
                    self._resume = (events[-1].seq + 1, end)
                return events
            if end == offset:
                break
            offset = end
        return self._pick(held, seq, last)

    def _mark(self, seq: int, size: int) -> None:
        self._seqs.append(seq)
        self._offsets.append(self._file.end() - size)
        self._marked = self._file.written
        if len(self._seqs) > MAX_INDEX:
            del self._seqs[1::2], self._offsets[1::2]
            self._spacing *= 2

    def _offset(self, seq: int) -> int:
        offset = self._offsets[bisect_right(self._seqs, seq) - 1]
        resume_seq, resume_offset = self._resume
        return max(offset, resume_offset) if resume_seq <= seq else offset

    def _scan(self, offset: int, seq: int, last: int) -> tuple[list[Event], int]:
        """Our events in one block of the file, and where it ends. Runs in a thread."""
        lines, end = read_block(self._file.path, offset, BLOCK)
        return self._pick(lines, seq, last), end

    def _pick(self, lines: list[bytes], seq: int, last: int) -> list[Event]:
        picked: list[Event] = []
        for line in lines:
            event = decode(line) if self._trace in line else None
            # The file may hold a later stream of the same name: its numbers start again.
            if event and seq <= event.seq <= last and self._owns(event):
                picked.append(event)
                seq = event.seq + 1
        return picked

    def _owns(self, event: Event) -> bool:
        return event.agent == self._agent and self._process in ("", event.process)


async def read_log(
    path: Path,
    *,
    type: str | None = None,  # noqa: A002 as in Event
    since: float | None = None,
    follow: bool = False,
) -> AsyncGenerator[Event, None]:
    """The events in a log, also while its run is writing it.

    What concerns the run itself has ``seq`` 0. Lines that are none, and a last one that is
    not whole yet, are left out.

    Args:
        path: a file in a run's log folder.
        type: only events of this type.
        since: only events of this Unix time and later.
        follow: go on with what is yet to come (and with a file that is), until cancelled.

    Raises:
        FileNotFoundError: there is no such log, and it is not followed.
    """
    offset = 0
    while True:
        try:
            lines, end = await anyio.to_thread.run_sync(
                read_block, path, offset, BLOCK, abandon_on_cancel=True
            )
        except FileNotFoundError:
            if not follow:
                raise
            lines, end = [], offset
        for event in map(decode, lines):
            if event and type in (None, event.type) and (since is None or event.time >= since):
                yield event
        if end == offset:
            if not follow:
                return
            await anyio.sleep(POLL)
        offset = end
