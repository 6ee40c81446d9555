"""A host at the far end of a cable of the tests' own, which can be pulled and made narrow."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count

import anyio

_numbers = count(1)


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def missing():
    """What keeps this computer from having cables; "" where nothing does."""
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            return f"there is no {program}: install iproute2"
    name = f"ramure-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return "network namespaces cannot be made here: it takes root, and a kernel that lets it"
    _ip("netns", "del", name)
    return ""


class Cable:
    """A network namespace, and the cable to it.

    Attributes:
        name: of the namespace.
        here, there: the addresses of the two ends.
    """

    def __init__(self):
        # A network of four addresses, of those kept for private use, by this process's number.
        block = (os.getpid() * 16 + next(_numbers)) % (1 << 14)
        base = (10 << 24) + (97 << 16) + block * 4
        self.here, self.there = (
            ".".join(str(base + end >> shift & 255) for shift in (24, 16, 8, 0)) for end in (1, 2)
        )
        self.name = f"ramure-{secrets.token_hex(4)}"
        self._device = f"rm{secrets.token_hex(4)}"

    @property
    def wrap(self):
        """What runs a command at the far end."""
        return ["ip", "netns", "exec", self.name]

    def lay(self):
        """Make it; it is plugged in."""
        far = f"{self._device}f"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._device, "type", "veth", "peer", "name", far)
        _ip("link", "set", far, "netns", self.name)
        _ip("addr", "add", f"{self.here}/30", "dev", self._device)
        _ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", far)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "link", "set", far, "up")
        _ip("link", "set", self._device, "up")

    def pull(self):
        """Nothing goes through from now on, and nobody is told."""
        _ip("-n", self.name, "link", "set", f"{self._device}f", "down")

    def plug(self):
        """All goes through again."""
        _ip("-n", self.name, "link", "set", f"{self._device}f", "up")

    def narrow(self, rate):
        """Let no more through than ``rate``, such as ``8mbit``, in either direction."""
        shape = ("root", "tbf", "rate", rate, "burst", "32kb", "latency", "50ms")
        tc = ["tc", "qdisc", "replace", "dev", self._device, *shape]
        subprocess.run(tc, check=True, capture_output=True)
        far = ["tc", "-n", self.name, "qdisc", "replace", "dev", f"{self._device}f", *shape]
        subprocess.run(far, check=True, capture_output=True)

    def remove(self):
        """Take it away; its namespace, too."""
        subprocess.run(["ip", "link", "del", self._device], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


@contextmanager
def cable():
    """A cable that is laid, and removed afterwards."""
    it = Cable()
    try:
        it.lay()
        yield it
    finally:
        it.remove()


# $1 a port at the far end's own loopback, $2 a unix socket, which all namespaces share.
_DOOR = """
import asyncio, sys
port, path = int(sys.argv[1]), sys.argv[2]
async def pour(source, target):
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    target.close()
async def serve(reader, writer):
    far, near = await asyncio.open_unix_connection(path)
    await asyncio.gather(pour(reader, near), pour(far, writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


@asynccontextmanager
async def door(cable, port, path):
    """Lead a port of the far end's own loopback to the same port here, past the cable."""

    async def pour(source, target):
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    async def serve(reader, writer):
        near, far = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pour(reader, far), pour(near, writer))

    command = [*cable.wrap, sys.executable, "-c", _DOOR, str(port), str(path)]
    server = await asyncio.start_unix_server(serve, path)
    async with server, await anyio.open_process(command, stdin=None, stderr=None) as process:
        await process.stdout.receive()
        try:
            yield
        finally:
            process.terminate()
