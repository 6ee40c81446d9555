"""The tmux server of a machine: one of the run's own, driven by libtmux.

libtmux sends every command of a server, session or pane through ``Server.cmd``; here that goes
through the machine, so that it works wherever the machine is. libtmux waits for answers, so its
calls run in worker threads, which ask the event loop to run the command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import libtmux
from libtmux.common import tmux_cmd

from ramure import paths
from ramure.errors import AgentStartFailed, MachineError
from ramure.machine import Machine
from ramure.values import Terminal

T = TypeVar("T")

COMMAND_TIMEOUT = 10.0
"""Seconds that one tmux command may take."""


class _Server(libtmux.Server):
    """libtmux's server, whose commands run on a machine."""

    def __init__(self, machine: Machine, tmux: str, socket: str) -> None:
        super().__init__(socket_path=socket, tmux_bin=tmux)
        self._machine = machine

    def cmd(self, cmd: str, *args: Any, target: str | int | None = None) -> tmux_cmd:
        to = () if target is None else ("-t", str(target))
        # No file but ours is read: the person's own configuration is for their own tmux.
        conf = str(self.config_file or "/dev/null")
        argv = [str(self.tmux_bin), "-u", "-S", str(self.socket_path), "-f", conf]
        argv += [cmd, *to, *(str(arg) for arg in args)]
        run = partial(self._machine.exec, argv, timeout=COMMAND_TIMEOUT, cwd="/")
        result = anyio.from_thread.run(run)
        reply = object.__new__(tmux_cmd)
        reply.cmd = argv
        reply.stdout = result.stdout.rstrip("\n").split("\n") if result.stdout else []
        reply.stderr = [line for line in result.stderr.split("\n") if line]
        reply.returncode = 1 if result.exit_code is None else result.exit_code
        return reply


class TmuxServer:
    """The tmux server of one machine. It starts with its first session and ends with its last.

    Attributes:
        socket: the server's socket, on the machine.
    """

    def __init__(self, machine: Machine, tmux: str) -> None:
        self._machine = machine
        self._tmux = tmux
        wanted = f"{machine.state_dir}/tmux.sock"
        self._folder = ""
        if machine.here:
            wanted = str(paths.linked_socket_path(Path(wanted)))
        elif len(wanted.encode()) > paths.MAX_SOCKET_PATH:
            digest = hashlib.blake2s(wanted.encode(), digest_size=8).hexdigest()
            self._folder = f"/tmp/ramure-{digest}"  # noqa: S108 made anew, for its owner only
            wanted = f"{self._folder}/tmux.sock"
        self.socket = wanted
        self._server = _Server(machine, tmux, self.socket)
        self._sessions: set[str] = set()
        # A server must not end while another session is being made in it.
        self._lock = anyio.Lock()

    async def start(self, name: str, command: list[str], conf: str) -> str:
        """Start a command in a session of its own and give the pane's id.

        Args:
            name: the session's.
            command: run as it is, not by a shell.
            conf: a file on the machine with the server's options, read where the server starts.

        Raises:
            AgentStartFailed: tmux said no.
        """
        async with self._lock:
            if self._folder and not self._sessions:
                # Fails where it is there: whoever made it could reach the socket.
                await self._exec("mkdir", "-m", "700", self._folder)
            self._sessions.add(name)
            self._server.config_file = conf
            arguments = ("-d", "-P", "-F", "#{pane_id}", "-s", name, "-x", "120", "-y", "40", "--")
            reply = await _in_thread(partial(self._server.cmd, "new-session", *arguments, *command))
            if reply.returncode != 0 or not reply.stdout:
                raise AgentStartFailed(f"tmux: {' '.join(reply.stderr) or 'no answer'}")
            return str(reply.stdout[0])

    async def screen(self, pane: str, *, history: int = 0) -> str | None:
        """What a pane shows, after so many lines that left it; None where it is not there any more.

        Raises:
            MachineError: the machine could not be asked.
        """
        arguments = ("capture-pane", "-p", "-S", f"-{history}")
        reply = await _in_thread(partial(self._server.cmd, *arguments, target=pane))
        return "\n".join(reply.stdout).strip("\n") if reply.returncode == 0 else None

    async def is_over(self, pane: str) -> bool:
        """Whether a pane's command has ended and all that it said has been read, or it is gone.

        Raises:
            MachineError: the machine could not be asked.
        """
        arguments = ("display-message", "-p", "#{pane_dead}")
        reply = await _in_thread(partial(self._server.cmd, *arguments, target=pane))
        return reply.returncode != 0 or reply.stdout != ["0"]

    async def end(self, name: str) -> None:
        """End a session, and the server with the last one. Idempotent."""
        async with self._lock:
            if name not in self._sessions:
                return
            self._sessions.discard(name)
            if self._sessions:
                await _in_thread(partial(self._server.cmd, "kill-session", target=f"={name}"))
                return
            await _in_thread(partial(self._server.cmd, "kill-server"))
            await self._exec("rm", "-rf", self._folder or self.socket)

    async def _exec(self, *command: str) -> None:
        done = await self._machine.exec(list(command), timeout=COMMAND_TIMEOUT, cwd="/")
        if not done.ok:
            raise MachineError(f"{' '.join(command)}: {done.stderr.strip()}")

    def terminal(self, name: str) -> Terminal:
        """How a person attaches to a session, from inside another tmux too."""
        command = (self._tmux, "-u", "-S", self.socket, "attach-session", "-t", f"={name}")
        return Terminal(command, env={"TMUX": ""})


def session_name(address: str) -> str:
    """A name that tmux leaves as it is, for an agent's address; different for different ones."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in address)
    if name == address:
        return name
    return f"{name}-{hashlib.blake2s(address.encode(), digest_size=3).hexdigest()}"


async def _in_thread(call: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=False)
