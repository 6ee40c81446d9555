"""One sandbox: its processes' other ends, and what came of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

INSIDE = Path(__file__).with_name("inside.py")
AHEAD = 4 << 20
"""Bytes read from a pipe beyond what anybody has asked for."""

BEHIND = 64 << 20
"""Bytes kept for whoever has to read them again."""


class Output:
    """One output of a command, readable from any offset."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._wanted = 0
        self._reading = False
        self.start = 0
        self.data = bytearray()
        self.ended = fd is None
        if fd is not None:
            os.set_blocking(fd, False)
            self._watch()

    def _watch(self) -> None:
        room = self.start + len(self.data) < self._wanted + AHEAD
        if self._fd is None or self._reading == room:
            return
        self._reading = room
        if room:
            self._loop.add_reader(self._fd, self._read)
        else:
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 18)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # the end of a terminal
        if not data:
            return self.close()
        self.data += data
        if len(self.data) > BEHIND + AHEAD:
            old = len(self.data) - BEHIND
            del self.data[:old]
            self.start += old
        self._watch()
        self._tell()

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
        self.ended = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def read(self, offset: int, size: int = 1 << 18) -> bytes:
        """What is there from this offset on; b"" at the end."""
        while True:
            self._wanted = max(self._wanted, offset)
            self._watch()
            data = bytes(self.data[offset - self.start : offset - self.start + size])
            if data or self.ended:
                return data
            await self._news.wait()

    async def until_end(self) -> None:
        while await self.read(offset := self.start + len(self.data)) or not self.ended:
            self._wanted = offset


class Input:
    """A command's input. What has been written may come again: its offset tells."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._lock = asyncio.Lock()
        self.written = 0

    @property
    def closed(self) -> bool:
        return self._fd is None

    async def write(self, offset: int, data: bytes, eof: bool) -> None:
        """Raises BrokenPipeError where nobody reads."""
        async with self._lock:
            left = memoryview(data)[max(0, self.written - offset) :]
            while left:
                if self._fd is None:
                    raise BrokenPipeError
                try:
                    count = os.write(self._fd, left)
                except BlockingIOError:
                    await self._writable()
                except OSError:
                    self.close()
                    raise BrokenPipeError from None
                else:
                    self.written += count
                    left = left[count:]
            if eof:
                self.close()

    async def _writable(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            if self._fd is not None:
                loop.remove_writer(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None


class Command:
    """One exec."""

    def __init__(self, stdin: int, stdout: int, stderr: int | None) -> None:
        self.stdin, self.stdout, self.stderr = Input(stdin), Output(stdout), Output(stderr)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    def close(self) -> None:
        self.end(-9)
        self.stdin.close()
        self.stdout.close()
        self.stderr.close()


class Sandbox:
    """Attributes: ``result``: how it ended; ``commands``: by exec id."""

    def __init__(self, name: str, image, upper: Path, scratch: Path) -> None:
        self.name, self.image, self.upper, self.scratch = name, image, upper, scratch
        self.commands: dict[str, Command] = {}
        self.doors: list[asyncio.Server] = []
        self.result: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._answers: dict[str, asyncio.Future] = {}
        self._early: dict[str, int] = {}
        self._numbers = 0

    @classmethod
    async def start(cls, name: str, image, upper: Path, scratch: Path) -> Sandbox:
        self = cls(name, image, upper, scratch)
        for folder in (upper, scratch / "work"):
            folder.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, 32, 2 << 20)  # SO_SNDBUFFORCE
        config = {
            "name": name, "root": str(scratch / "root"), "lower": image.layers,
            "upper": str(upper), "work": str(scratch / "work"), "hidden": image.hidden,
        }  # fmt: skip
        ready = self._answers["ready"] = asyncio.get_running_loop().create_future()
        # In the loop's own thread: the child dies with the thread that made it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(INSIDE), json.dumps(config)], stdin=theirs
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)
        await asyncio.wait_for(ready, 30)
        return self

    def _hear(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 1 << 16, 2)
        except BlockingIOError:
            return None
        except OSError:
            data, fds = b"", []
        if not data:
            return self._gone()
        message = json.loads(data)
        name = message["id"]
        if "exit" in message:
            if command := self.commands.get(name):
                command.end(message["exit"])
            else:
                self._early[name] = message["exit"]
            if name == "entry" and not self.result.done():
                self.result.set_result(("exited", message["exit"]))
        elif name in self._answers:
            self._answers.pop(name).set_result((message, fds))

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the sandbox has ended"))
        if not self.result.done():
            self.result.set_result(("lost", -9))

    async def ask(self, fds=(), **message):
        """Raises OSError: what failed inside."""
        if self._control.fileno() < 0:
            raise ConnectionError("the sandbox has ended")
        self._numbers += 1
        name = message.setdefault("id", f"a{self._numbers}")
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        socket.send_fds(self._control, [json.dumps(message).encode()], fds)
        said, got = await answer
        if "error" in said:
            raise OSError(said["error"], os.strerror(said["error"]))
        return got

    async def execute(self, name, argv, env, cwd, size) -> Command:
        """Start a command; ``size`` (rows, columns) gives it a terminal."""
        message = {
            "op": "exec", "id": name, "argv": list(argv), "cwd": cwd or self.image.workdir,
            "env": {**self.image.env, **env},
        }  # fmt: skip
        if size:
            (master,) = await self.ask(**message, size=size)
            command = self.commands[name] = Command(os.dup(master), master, None)
            if name in self._early:
                command.end(self._early.pop(name))
        else:
            (in_, stdin), (stdout, out), (stderr, err) = os.pipe(), os.pipe(), os.pipe()
            try:
                # Known before it starts: its end may be told at once.
                command = self.commands[name] = Command(stdin, stdout, stderr)
                await self.ask([in_, out, err], **message)
            except BaseException:
                self.commands.pop(name).close()
                raise
            finally:
                for fd in (in_, out, err):
                    os.close(fd)
        return command

    async def offer(self, port: int) -> None:
        """The way out to a port of this computer, as to a service in the internet."""
        (fd,) = await self.ask(op="listen", port=port)
        door = socket.socket(fileno=fd)
        door.setblocking(False)
        self.doors.append(await asyncio.start_server(lambda r, w: carry(r, w, port), sock=door))

    async def stop(self) -> None:
        for door in self.doors:
            door.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._gone() if self._control.fileno() >= 0 else None
        for command in self.commands.values():
            command.close()
        await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)


async def carry(reader, writer, port: int) -> None:
    """Both ways between a connection and a port of this computer."""

    async def pump(source, target) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        with suppress(OSError):
            target.write_eof()

    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    for end in (writer, far_writer):
        end.close()
