"""This command's stdin, stdout and stderr, joined to a command that a run serves."""

from __future__ import annotations

import base64
import os
import selectors
import sys
from typing import Any

from ramure.cli.client import ControlClient
from ramure.cli.pty import shell_code
from ramure.errors import RunDied, RunError

WINDOW = 16
"""Frames that may be on their way to the command at a time; see ``ramure.run.intake``."""

PIECE = 32_768
"""Bytes of stdin that travel in one frame, at the most."""


class Pipes:
    """What this command was given to read from and to write to."""

    def __init__(self) -> None:
        # Where a stream was closed by whoever started us, its number may be another file by now.
        self._in = None if sys.stdin is None else sys.stdin.fileno()
        self._outputs = {
            name: None if stream is None else stream.fileno()
            for name, stream in (("data", sys.stdout), ("errors", sys.stderr))
        }
        self._travelling = 0

    def join(self, client: ControlClient) -> int:
        """Be the pipes of what the run serves on this connection; give its exit code.

        Raises:
            RunDied: the run ended meanwhile.
            RunError: the command could not be started, or the way to it broke.
        """
        if self._in is None:
            client.send({"eof": True})
        # Not epoll: it knows no files, and stdin may be one.
        with selectors.SelectSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            code = self._pass_out(client.pending())
            while code is None:
                self._mind_window(selector)
                for key, _ in selector.select():
                    if key.fd == self._in:
                        self._pass_in(client, selector)
                    else:
                        code = self._pass_out(client.arrived())
            return code

    def _mind_window(self, selector: selectors.BaseSelector) -> None:
        """Read stdin while not too much of it is on its way."""
        if self._in is None:
            return
        reading = self._in in selector.get_map()
        if self._travelling < WINDOW and not reading:
            selector.register(self._in, selectors.EVENT_READ)
        elif self._travelling >= WINDOW and reading:
            selector.unregister(self._in)

    def _pass_in(self, client: ControlClient, selector: selectors.BaseSelector) -> None:
        assert self._in is not None
        if data := os.read(self._in, PIECE):
            self._travelling += 1
            client.send({"data": base64.b64encode(data).decode()})
        else:
            client.send({"eof": True})
            selector.unregister(self._in)
            self._in = None

    def _pass_out(self, frames: list[dict[str, Any]] | None) -> int | None:
        if frames is None:
            raise RunDied("the run ended")
        for frame in frames:
            self._travelling -= frame.get("taken", 0)
            for name, output in self._outputs.items():
                if name in frame and output is not None:
                    _write(output, base64.b64decode(frame[name]))
            if "exit" in frame:
                return shell_code(frame["exit"])
            if "error" in frame:
                raise RunError(frame["error"])
        return None


def _write(output: int, data: bytes) -> None:
    while data:
        data = data[os.write(output, data) :]
