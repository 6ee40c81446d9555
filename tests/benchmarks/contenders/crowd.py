"""Agents without a program: they speak a protocol and call a tool, from a process of their own.

``Crowd`` starts that process and tells it what to do; below is what runs there. It uses the
standard library alone and costs about the same whichever protocol it speaks, so that what differs
between contenders is their own doing.
"""

import asyncio
import base64
import json
import os
import sys
import time
from urllib.parse import urlsplit

TEXT = "The quick brown fox jumps over the lazy dog, and what it says of it is of no matter. " * 2
"""What every call takes and gives back."""

ACKNOWLEDGE_AFTER = 32


class Crowd:
    """The agents, as the process sees them that they call; ``starting``: seconds they took."""

    async def __aenter__(self):
        start = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._process.stdout.readline()
        self.starting = time.perf_counter() - start
        return self

    async def __aexit__(self, *_):
        self._process.stdin.close()
        await self._process.wait()

    def join(self, protocol, address, agent, secret=""):
        """Let one more agent connect and register."""
        self._tell(join=[protocol, address, agent, secret])

    async def call(self, calls):
        """Let all agents call so often, each one call after the other; give the seconds it took."""
        self._tell(call=calls)
        return float(await self._process.stdout.readline())

    def _tell(self, **order):
        self._process.stdin.write(json.dumps(order).encode() + b"\n")


class Agent(asyncio.Protocol):
    """One agent, whatever it speaks."""

    def __init__(self, agent, secret):
        self.agent, self.secret = agent, secret
        self.joined = asyncio.Event()
        self.count = self.last = 0
        self.finished = None
        self._rest = b""

    def connection_made(self, transport):
        self.transport = transport
        self.open()

    def data_received(self, data):
        self._rest = self.take(self._rest + data)

    def connection_lost(self, error):
        if self.finished is not None and not self.finished.done():
            self.finished.set_exception(error or ConnectionError("the connection has ended"))

    def begin(self, calls):
        self.last = self.count + calls
        self.finished = asyncio.get_running_loop().create_future()
        self.call()
        return self.finished

    def answered(self, message):
        if TEXT.encode() not in message:
            raise RuntimeError(f"{self.agent}: {message}")
        if self.count < self.last:
            self.call()
        else:
            self.finished.set_result(None)


class Lines(Agent):
    """One message a line; no protocol at all."""

    def open(self):
        self.say({"hello": self.agent})
        self.joined.set()

    def say(self, message):
        self.transport.write(json.dumps(message).encode() + b"\n")

    def take(self, data):
        *lines, rest = data.split(b"\n")
        for line in lines:
            self.hear(line)
        return rest

    def hear(self, line):
        self.answered(line)

    def call(self):
        self.count += 1
        self.say({"call": str(self.count), "tool": "echo", "arguments": {"text": TEXT}})


class Ramure(Lines):
    """The agent protocol of this project, as ``docs/reference/protocol.md`` describes it."""

    def open(self):
        self.sent = self.heard = 0
        self.say(
            {"t": "hello", "v": 1, "agent": self.agent, "token": self.secret, "session": "bench"}
        )

    def number(self, message):
        self.sent += 1
        self.say({**message, "n": self.sent})

    def hear(self, line):
        if line.startswith(b'{"t":"welcome"'):
            self.number({"t": "ready", "harness": "bench"})
            self.joined.set()
        elif not line.startswith((b'{"t":"ack"', b'{"t":"stop"')):
            self.heard += 1
            if self.heard % ACKNOWLEDGE_AFTER == 0:
                self.say({"t": "ack", "n": json.loads(line)["n"]})
            if line.startswith(b'{"t":"result"'):
                self.answered(line)

    def call(self):
        self.count += 1
        self.number(
            {"t": "call", "call": str(self.count), "tool": "echo", "arguments": {"text": TEXT}}
        )


class Former(Agent):
    """The protocol of ramure 0.0.3: JSON in WebSocket frames, without compression."""

    def __init__(self, agent, secret, url):
        super().__init__(agent, secret)
        self.url = urlsplit(url)
        self.upgraded = False

    def open(self):
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET /agents/{self.agent}/ws HTTP/1.1\r\nHost: {self.url.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def say(self, event, data):
        message = {"type": "event", "event_type": event, "data": data}
        self.frame(0x81, json.dumps(message).encode())

    def frame(self, opcode, payload):
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        # A mask of zeros leaves the payload as it is: lawful, and costs the client nothing.
        self.transport.write(bytes([opcode]) + length + bytes(4) + payload)

    def take(self, data):
        if not self.upgraded:
            if b"\r\n\r\n" not in data:
                return data
            data = data.split(b"\r\n\r\n", 1)[1]
            self.upgraded = True
            self.say("register", {"execution_id": self.secret})
        while len(data) >= 2:
            start, size = 2, data[1]
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            if len(data) < start + size:
                break
            self.hear(data[0], data[start : start + size])
            data = data[start + size :]
        return data

    def hear(self, opcode, payload):
        if opcode == 0x89:
            self.frame(0x8A, payload)
        elif payload.startswith(b'{"type": "registered"'):
            self.joined.set()
        elif payload.startswith(b'{"type": "tool_result"'):
            self.answered(payload)

    def call(self):
        self.count += 1
        call = {"call_id": str(self.count), "tool": "echo", "params": {"text": TEXT}}
        self.say("tool_call", call)


async def join(protocol, address, agent, secret):
    """Connect one agent."""
    loop = asyncio.get_running_loop()
    if protocol == "former":
        url = urlsplit(address)
        _, made = await loop.create_connection(
            lambda: Former(agent, secret, address), url.hostname, url.port
        )
        return made
    kind = Ramure if protocol == "ramure" else Lines
    path = address.removeprefix("unix:")
    _, made = await loop.create_unix_connection(lambda: kind(agent, secret), path)
    return made


async def main():
    orders = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    agents, joining = [], set()
    print("ready", flush=True)

    async def add(joined):
        agents.append(await join(*joined))
        await agents[-1].joined.wait()

    while line := await orders.readline():
        order = json.loads(line)
        if "join" in order:
            joining.add(asyncio.create_task(add(order["join"])))
            continue
        await asyncio.gather(*joining)
        start = time.perf_counter()
        await asyncio.gather(*(agent.begin(order["call"]) for agent in agents))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
