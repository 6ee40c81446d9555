"""Finding and killing all that a process or a machine started, wherever it has gone.

``_marks`` says how it is found. What cleared its environment is found as a descendant, or in the
session, of the process. Blocking: for worker threads.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ramure.backends._looks import Looks

if TYPE_CHECKING:
    import psutil

BOUND = 5.0
"""Seconds after which killing gives up: what is left then is stuck in the kernel."""

STOPPING = 2.0
"""Seconds for what is told to stop; what has not by then may never, as in a frozen container."""

_looks = Looks()


def kill_tree(mark: str, root: int | None = None) -> bool:
    """Kill every process that carries ``mark``, or descends from ``root``. Blocking.

    All is stopped before anything is killed, until a look finds nothing new: what was forked
    behind a look's back, and cleared its environment, is still found as the child of a parent that
    is there.

    Args:
        mark: see ``new_mark``.
        root: a process that runs, so that its number is still its own.

    Returns:
        True where none is left; False where some could not be killed within ``BOUND``.
    """
    deadline = time.monotonic() + BOUND
    frozen: dict[int, psutil.Process] = {}
    clean = 0
    while clean < 2:  # one look can miss a process that forked and ended behind its back
        if time.monotonic() > deadline:
            _kill(frozen)
            return False
        look = _looks.fresh()
        found = [pid for pid, marks in look.items() if mark in marks or _rooted(pid, root)]
        if (found or frozen) and (fresh := _freeze(found, list(look), frozen)):
            _await_stop(fresh)
            continue
        if frozen:
            _kill(frozen)
            clean = 0
        else:
            clean += 1
        root = None
        if clean < 2:
            time.sleep(0.0005 if clean else 0.002)
    return True


def _rooted(pid: int, root: int | None) -> bool:
    return root is not None and root in (pid, _session(pid))


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _freeze(found: list[int], pids: list[int], frozen: dict[int, psutil.Process]) -> list[int]:
    """Stop these and all descendants among ``pids``. ``frozen`` holds what is stopped before.

    Returns:
        What was not, and is in ``frozen`` now.
    """
    import psutil  # slow, and mostly there is nothing to kill

    fresh = []
    found = list(dict.fromkeys([*frozen, *found]))
    for pid in found + _descendants(found, pids):
        with suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            if pid not in frozen and process.status() != psutil.STATUS_ZOMBIE:
                process.suspend()
                frozen[pid] = process
                fresh.append(pid)
    return fresh


def _await_stop(pids: list[int]) -> None:
    """Wait until all have stopped: one amid a fork ends that first, with a child to be found."""
    deadline = time.monotonic() + STOPPING
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.0005)


def _runs(pid: int) -> bool:
    """Whether a thread of it runs, or sleeps and has yet to hear of a signal. Linux only."""
    threads = Path(f"/proc/{pid}/task")
    with suppress(OSError):  # it has ended
        for thread in os.listdir(threads):  # noqa: PTH208 names are all that is wanted
            status = (threads / thread / "stat").read_bytes()
            if status.rpartition(b") ")[2].startswith((b"R", b"S")):
                return True
    return False


def _kill(frozen: dict[int, psutil.Process]) -> None:
    """Kill what is stopped, the youngest first: a parent's end would wake its stopped children."""
    from psutil import Error

    for process in reversed(frozen.values()):
        with suppress(Error):  # it has ended meanwhile, or is somebody else's
            process.kill()
    frozen.clear()


def _descendants(found: list[int], pids: list[int]) -> list[int]:
    """The children of these, their children, and so on; without these themselves."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in pids:
        children[_parent(pid)].append(pid)
    queue, descendants = list(found), dict.fromkeys(found)
    while queue:
        for child in children[queue.pop()]:
            if child not in descendants:
                descendants[child] = None
                queue.append(child)
    return list(descendants)[len(found) :]


def _parent(pid: int) -> int:
    """The parent of a process; 0 where it has ended. There may be thousands: not by psutil."""
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):
            return psutil.Process(pid).ppid()
        return 0
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        status = os.read(descriptor, 4096)
    except OSError:
        return 0  # it has ended meanwhile
    finally:
        os.close(descriptor)
    return int(status.rpartition(b") ")[2].split(None, 2)[1])
