"""An agent's program: it speaks the agent protocol, and needs nothing but Python.

A line of JSON on its input says where the run is, who it is, and its token. It is a clerk: it does
what its messages say, a command a line:

    say some words              it says them
    call NAME {"a": 1}          a tool call; all calls of a message are made at once
    hang                        it does nothing until it is interrupted
    exit 3                      it ends

When all results are there it says ``done:`` and each of them.
"""

import json
import os
import queue
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from io import BufferedRWPair
from typing import Any

Message = dict[str, Any]


# --8<-- [start:connection]
class Connection:
    """The numbered messages of ``docs/reference/protocol.md``, over one unix socket after another.

    Attributes:
        inbox: what the run has said, in order, each once; None once it is all over.
    """

    def __init__(self, address: str, agent: str, token: str, lease: float) -> None:
        self.inbox: queue.Queue[Message | None] = queue.Queue()
        self._path = address.removeprefix("unix:")
        self._hello = {"v": 1, "agent": agent, "token": token, "session": uuid.uuid4().hex}
        self._lease, self._seen = lease, time.monotonic()
        self._got = self._sent = 0
        self._kept: dict[int, Message] = {}
        self._wire: BufferedRWPair | None = None
        self._lock = threading.Lock()

    def send(self, t: str, **fields: object) -> None:
        """Say something; it is kept until the run has acknowledged it."""
        with self._lock:
            self._sent += 1
            self._kept[self._sent] = message = {"t": t, "n": self._sent, **fields}
            self._put(message)

    def run(self) -> None:
        """Be connected until the run says that it is over, or is out of reach for too long."""
        while time.monotonic() - self._seen < self._lease and self._visit():
            time.sleep(0.05 + os.urandom(1)[0] / 1000)  # not all agents of a run at once
        self.inbox.put(None)

    def _visit(self) -> bool:
        """One connection, from its beginning to its end; False where there is to be no other."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as door:
            door.connect(self._path)
            with door.makefile("rwb") as wire:
                _write(wire, {"t": "hello", "got": self._got, **self._hello})
                for line in wire:
                    if not self._receive(wire, json.loads(line)):
                        return False
        with self._lock:
            if self._wire is not None:  # the lease begins with the end of a connection
                self._wire, self._seen = None, time.monotonic()
        return True

    def _receive(self, wire: BufferedRWPair, message: Message) -> bool:
        kind, number = message["t"], message.get("n", 0)
        with self._lock:
            if kind == "welcome":
                self._lease = message.get("lease", 10.0)
                self._forget(message.get("got", 0))
                self._wire = wire
                for kept in self._kept.values():
                    self._put(kept)
            elif kind == "refused":
                return bool(message.get("retry"))
            elif kind == "ack":
                self._forget(number)
            elif kind == "ping":
                self._put({"t": "pong"})
            elif number:
                if number == self._got + 1:
                    self._got = number
                    self.inbox.put(message)
                self._put({"t": "ack", "n": self._got})
        return True

    def _forget(self, number: int) -> None:
        self._kept = {n: message for n, message in self._kept.items() if n > number}

    def _put(self, message: Message) -> None:
        if self._wire is not None:
            with suppress(OSError):  # whoever reads learns of the end
                _write(self._wire, message)


def _write(wire: BufferedRWPair, message: Message) -> None:
    wire.write(json.dumps(message).encode() + b"\n")
    wire.flush()


# --8<-- [end:connection]


# --8<-- [start:clerk]
class Clerk:
    """Does what messages say, one after the other."""

    def __init__(self, harness: str, connection: Connection) -> None:
        self._harness = harness
        self._run = connection
        self._waiting: list[Message] = []
        self._calls: dict[str, str | None] = {}
        self._busy = self._hangs = False

    def work(self) -> None:
        """Until there is nothing more to come."""
        self._run.send("ready", harness=self._harness, version="1", pid=os.getpid())
        while (message := self._run.inbox.get()) is not None and message["t"] != "stop":
            if message["t"] == "message":
                self._waiting.append(message)
                self._run.send("queued", id=message["id"])
            elif message["t"] == "result" and message["call"] in self._calls:
                self._calls[message["call"]] = message["text"]
            elif message["t"] == "interrupt":
                self._break_off()
            self._go_on()

    def _go_on(self) -> None:
        """Everything that can be done now."""
        while not self._hangs and None not in self._calls.values():
            if self._calls:
                results, self._calls = self._calls, {}
                self._say(" ".join(["done:", *map(str, results.values())]))
            elif self._waiting:
                self._take(self._waiting.pop(0))
            else:
                self._be(busy=False)
                return

    def _take(self, message: Message) -> None:
        self._be(busy=True)  # before it is taken: it is never idle with something in its hands
        self._run.send("taken", id=message["id"])
        for line in filter(None, map(str.strip, message["text"].splitlines())):
            word, _, rest = line.partition(" ")
            if word == "call":
                self._call(*rest.split(" ", 1))
            elif word == "hang":
                self._hangs = True
            elif word == "exit":
                self._run.send("bye", reason="its message says so")
                sys.exit(int(rest or 0))
            else:
                self._say(rest if word == "say" else line)

    def _call(self, tool: str, arguments: str = "{}") -> None:
        call = uuid.uuid4().hex
        self._calls[call] = None
        self._run.send("call", call=call, tool=tool, arguments=json.loads(arguments))

    def _break_off(self) -> None:
        for call in [call for call, result in self._calls.items() if result is None]:
            self._run.send("cancel", call=call)
        self._calls, self._hangs = {}, False

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")  # its screen
        sys.stdout.flush()
        self._run.send("event", type="text", data={"text": text})

    def _be(self, *, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._run.send("state", state="busy" if busy else "idle")


# --8<-- [end:clerk]


def main() -> None:
    """Read who it is, and work."""
    told = json.loads(sys.stdin.readline())
    clerk = Clerk(told.pop("harness"), connection := Connection(**told))
    threading.Thread(target=connection.run, daemon=True).start()
    clerk.work()


if __name__ == "__main__":
    main()
