"""The client of a run's control socket: blocking, and of the standard library alone.

What is said there is in ``ramure.run.rpc``.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ramure.errors import RamureError, RunDied

PATIENCE = 10.0
"""Seconds in which a run answers what it can answer at once. One that is busy may take some."""

CHUNK = 65_536


def dialled(path: Path) -> str:
    """What to connect to: the path may be a link to one that is short enough for a socket."""
    return os.fspath(path.readlink() if path.is_symlink() else path)


class Refused(RamureError):
    """The run answered with an error.

    Attributes:
        kind: the name of the Python error behind it, where there is one.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Silent(RunDied):
    """The run did not answer in time."""


class ControlClient:
    """One connection to a run.

    Raises:
        RunDied: nobody listens there any more.
    """

    def __init__(self, path: Path) -> None:
        self._run = path.stem
        self._rest = bytearray()
        self._unsent = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(dialled(path))
        except OSError as error:
            self._socket.close()
            raise RunDied(f"the run {self._run} cannot be reached: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The connection's file descriptor."""
        return self._socket.fileno()

    def request(self, method: str, /, *, timeout: float | None = PATIENCE, **params: Any) -> Any:
        """Ask, and wait for the answer.

        Args:
            method: one of ``ramure.operations``.
            timeout: seconds; None for as long as it takes. Then the run is first asked what it
                answers at once, so that one that is stopped is told from one that is at work.
            **params: its parameters.

        Raises:
            Refused: the run answered with an error.
            RunDied: it ended before it answered.
            Silent: it did not answer in time.
        """
        if timeout is None:
            self.request("about")
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._socket.settimeout(timeout)
        self.send(request)
        answer = self.receive()
        if answer is None:
            raise RunDied(f"the run {self._run} ended before it answered")
        if error := answer.get("error"):
            raise Refused(error["message"], (error.get("data") or {}).get("type", ""))
        return answer["result"]

    def ask(self, frame: dict[str, Any], *, timeout: float) -> dict[str, Any] | None:
        """Send a frame after an upgrade, and wait for one; None once the run has ended.

        Raises:
            Silent: none came within ``timeout`` seconds.
        """
        self._socket.settimeout(timeout)
        self.send(frame)
        return self.receive()

    def send(self, message: dict[str, Any]) -> None:
        """Send one line: a request, or a frame after an upgrade."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            pass  # the other side has closed: what it said before can still be read

    def offer(self, message: dict[str, Any]) -> None:
        """Send one line without waiting; what the run does not read now is left for ``flush``."""
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what was offered, as far as the run reads it now."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:  # as in send()
            self._unsent.clear()

    @property
    def unsent(self) -> bool:
        """Whether something that was offered is left."""
        return bool(self._unsent)

    def receive(self) -> dict[str, Any] | None:
        """The next line; None once the run has closed the connection."""
        while (line := self._buffered()) is None:
            try:
                chunk = self._socket.recv(CHUNK)
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                chunk = b""
            if not chunk:
                return None
            self._rest += chunk
        return line

    def arrived(self) -> list[dict[str, Any]] | None:
        """The frames that are here after the connection became readable; None at its end."""
        try:
            chunk = self._socket.recv(CHUNK)
        except OSError:
            chunk = b""
        if not chunk:
            return None
        self._rest += chunk
        return self.pending()

    def pending(self) -> list[dict[str, Any]]:
        """The frames that came together with what was received before."""
        return list(iter(self._buffered, None))

    def _buffered(self) -> dict[str, Any] | None:
        line, newline, rest = self._rest.partition(b"\n")
        if not newline:
            return None
        self._rest = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def _silent(self) -> Silent:
        return Silent(
            f"the run {self._run} does not answer: its program is stopped, or blocks its event loop"
        )
