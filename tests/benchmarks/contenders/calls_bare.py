"""What a call is made of at least: lines of JSON over a unix socket, by asyncio alone."""

import asyncio
import json
import tempfile
import time
from pathlib import Path

from calls import measure, report, sizes
from crowd import Crowd


class Echo(asyncio.Protocol):
    def __init__(self, news, there):
        self.news, self.there, self.rest = news, there, b""

    def connection_made(self, transport):
        self.transport = transport
        self.there.append(transport)

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
    there = []
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        server = await loop.create_unix_server(lambda: Echo(news, there), path, backlog=4096)
        async with server, Crowd() as crowd:

            async def make(number):
                news.clear()
                crowd.join("lines", path, f"agent{number}")
                await news.wait()

            measured = await measure(crowd, make)
            left = time.perf_counter()
            for transport in there:  # all that the end of an agent is here
                transport.close()
            await asyncio.sleep(0)
            agents, _ = sizes()
            ended = (time.perf_counter() - left) / agents
            report({**measured, f"agent ended, {agents}": ended})


asyncio.run(main())
