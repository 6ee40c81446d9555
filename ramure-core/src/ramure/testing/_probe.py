"""A pipe between its own input and output and a run's address: ``python3 _probe.py ADDRESS``.

Runs on machines that have Python, but not ramure. Each line of its input is a message to the run,
each message from the run a line of its output; it ends with the connection.
"""

import base64
import os
import socket
import struct
import sys
import threading
from urllib.parse import urlsplit


class Lines:
    """One message a line, over a unix socket."""

    def __init__(self, path: str) -> None:
        self.door = socket.socket(socket.AF_UNIX)
        self.door.connect(path)
        self.reader = self.door.makefile("rb")

    def send(self, message: bytes) -> None:
        """Send one message."""
        self.door.sendall(message + b"\n")

    def receive(self) -> bytes:
        """The next message; empty at the end."""
        return self.reader.readline().rstrip(b"\n")


class Frames:
    """One message a frame, over a WebSocket (RFC 6455); just enough of it."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self.door = socket.create_connection((url.hostname, url.port or 80))
        self.reader = self.door.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.door.sendall(
            f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        if b" 101 " not in self.reader.readline():
            raise ConnectionError("no WebSocket there")
        while self.reader.readline() not in (b"\r\n", b""):
            pass

    def send(self, message: bytes, kind: int = 1) -> None:
        """Send one frame; masked with zeros, which leaves it as it is."""
        size = len(message)
        if size < 126:
            length = struct.pack("!B", 128 | size)
        elif size < 65536:
            length = struct.pack("!BH", 128 | 126, size)
        else:
            length = struct.pack("!BQ", 128 | 127, size)
        self.door.sendall(bytes([128 | kind]) + length + bytes(4) + message)

    def receive(self) -> bytes:
        """The next message; empty at the end."""
        while True:
            head = self.reader.read(2)
            if len(head) < 2:
                return b""
            size = head[1] & 127
            if size == 126:
                (size,) = struct.unpack("!H", self.reader.read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.reader.read(8))
            data, kind = self.reader.read(size), head[0] & 15
            if kind == 1:
                return data
            if kind == 9:
                self.send(data, 10)
            elif kind == 8:
                return b""


def main(address: str) -> None:
    """Carry messages both ways until one side ends."""
    unix = address.startswith("unix:")
    wire = Lines(address[len("unix:") :]) if unix else Frames(address)

    def outward() -> None:
        for line in sys.stdin.buffer:
            wire.send(line.rstrip(b"\n"))
        os._exit(0)

    threading.Thread(target=outward, daemon=True).start()
    while message := wire.receive():
        sys.stdout.buffer.write(message + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
