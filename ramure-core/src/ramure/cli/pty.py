"""This terminal, joined to one that a run serves: raw mode, resizing, detaching."""

from __future__ import annotations

import base64
import os
import re
import selectors
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ramure.cli import output
from ramure.cli.client import CHUNK, ControlClient
from ramure.errors import RunDied, RunError, UsageError

RESET = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m\r\n"
"""Switches off what a program may have switched on: mouse, pasting, a hidden cursor, colours."""

FULL_SCREEN, NORMAL_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"

WINDOW = 16
"""Frames of keys that may be on their way at a time; see ``ramure.run.intake``."""

PIECE = 4096
"""Bytes that travel in one frame, at the most."""

TYPED_AHEAD = 16 * 1024 * 1024
"""Bytes that are kept for a command that does not read; then the terminal keeps them."""


def is_there() -> bool:
    """Whether a person sits at a terminal here, whom a program could speak with."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def shell_code(code: int) -> int:
    """An exit code as a shell tells it: 128 and the signal's number where a signal ended it."""
    return code if code >= 0 else 128 - code


class Terminal:
    """The person's terminal."""

    def __init__(self, instead: str) -> None:
        """Take it; ``instead`` says what works without one."""
        if not is_there():
            raise UsageError(f"this needs a terminal: stdin and stdout are not both one; {instead}")
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._full_screen = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; the usual ones where the terminal does not know."""
        columns, rows = os.get_terminal_size(self._out)
        return columns or 80, rows or 24

    @property
    def screen(self) -> dict[str, Any]:
        """Its size and type, as a run's ``terminal`` and ``shell`` take them."""
        columns, rows = self.size
        return {"columns": columns, "rows": rows, "term": os.environ.get("TERM") or "xterm"}

    def join(self, client: ControlClient, detach: bytes) -> int | None:
        """Be the terminal of what the run serves on this connection.

        Args:
            client: a connection after its upgrade.
            detach: the byte that a key sends which ends this; b"" for none.

        Returns:
            The exit code of what ran there; None where the person detached.

        Raises:
            RunDied: the run ended meanwhile.
            RunError: the terminal could not be opened, or broke.
        """
        code: int | None = None
        try:
            with _raw(self._in), _resizes() as resized, selectors.DefaultSelector() as selector:
                for source in (client.fileno(), resized):
                    selector.register(source, selectors.EVENT_READ)
                code = self._converse(client, _Keys(self._in, detach), resized, selector)
        finally:
            if code is None:
                self._write((NORMAL_SCREEN if self._full_screen else b"") + RESET)
        return code

    def _converse(
        self, client: ControlClient, keys: _Keys, resized: int, selector: selectors.BaseSelector
    ) -> int | None:
        # The window may have changed since the run was told its size; from now on changes are seen.
        client.offer({"resize": list(self.size)})
        code = self._show(client.pending(), keys)
        while code is None:
            keys.register(selector)
            unsent = selectors.EVENT_WRITE if client.unsent else 0
            selector.modify(client.fileno(), selectors.EVENT_READ | unsent)
            for key, events in selector.select():
                if key.fd == keys.source:
                    left = keys.read()
                    keys.pass_on(client)
                    if left:
                        return None
                elif key.fd == resized:
                    os.read(resized, CHUNK)
                    client.offer({"resize": list(self.size)})
                elif events & selectors.EVENT_READ:
                    code = self._show(client.arrived(), keys)
                    keys.pass_on(client)
                else:
                    client.flush()
        return code

    def _show(self, frames: list[dict[str, Any]] | None, keys: _Keys) -> int | None:
        if frames is None:
            raise RunDied("the run ended")
        for frame in frames:
            keys.travelling -= frame.get("taken", 0)
            if "data" in frame:
                shown = base64.b64decode(frame["data"])
                on, off = shown.rfind(FULL_SCREEN), shown.rfind(NORMAL_SCREEN)
                self._full_screen = on > off if on != off else self._full_screen
                self._write(shown)
            elif "exit" in frame:
                return shell_code(frame["exit"])
            elif "error" in frame:
                raise RunError(frame["error"])
        return None

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._out, data) :]


class _Keys:
    """What is typed: read at once, so that leaving works; sent as the command takes it.

    Attributes:
        source: where it comes from, a file descriptor.
        travelling: frames on their way.
    """

    def __init__(self, source: int, detach: bytes) -> None:
        self.source = source
        self.travelling = 0
        self._detach = detach
        self._typed = bytearray()

    def register(self, selector: selectors.BaseSelector) -> None:
        """Listen to the keys, unless too much was typed ahead."""
        listening = self.source in selector.get_map()
        if len(self._typed) < TYPED_AHEAD and not listening:
            selector.register(self.source, selectors.EVENT_READ)
        elif len(self._typed) >= TYPED_AHEAD and listening:
            selector.unregister(self.source)

    def read(self) -> bool:
        """Take what was typed; True where it says that the person leaves."""
        data = os.read(self.source, CHUNK)
        before, found, _ = data.partition(self._detach) if self._detach else (data, b"", b"")
        self._typed += before
        return bool(found) or not data

    def pass_on(self, client: ControlClient) -> None:
        """Send what fits into the window."""
        while self._typed and self.travelling < WINDOW:
            piece = self._typed[:PIECE]
            del self._typed[:PIECE]
            self.travelling += 1
            client.offer({"data": base64.b64encode(piece).decode()})


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSADRAIN)  # what was typed ahead is kept
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _resizes() -> Iterator[int]:
    """A file descriptor that becomes readable when the terminal's size changes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


def key(name: str) -> bytes:
    """The byte of ``ctrl-a`` … ``ctrl-_``; nothing for ``none``."""
    if name == "none":
        return b""
    match = re.fullmatch(r"ctrl-([a-z\[\\\]^_])", name.lower())
    if match is None:
        raise UsageError(f"--detach-key {name}: name it like 'ctrl-]', or 'none'")
    return bytes([ord(match[1].upper()) & 0x1F])


def announce(where: str, detach: str) -> None:
    """Say how to leave."""
    how = "" if detach == "none" else f" ({detach} leaves it)"
    output.tell(f"{where}{how}")
