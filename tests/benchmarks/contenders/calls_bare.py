"""What a call is made of at least: lines of JSON over a unix socket, by asyncio alone."""

import asyncio
import json
import tempfile
from pathlib import Path

from calls import measure, report
from crowd import Crowd


class Echo(asyncio.Protocol):
    def __init__(self, news):
        self.news, self.rest = news, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "hello" in message:
                self.news.set()
            else:
                answer = {"result": message["call"], "text": message["arguments"]["text"]}
                self.transport.write(json.dumps(answer).encode() + b"\n")


async def main():
    news = asyncio.Event()
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        server = await loop.create_unix_server(lambda: Echo(news), path, backlog=4096)
        async with server, Crowd() as crowd:

            async def make(number):
                news.clear()
                crowd.join("lines", path, f"agent{number}")
                await news.wait()

            report(await measure(crowd, make))


asyncio.run(main())
