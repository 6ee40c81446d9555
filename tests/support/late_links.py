"""A link with a constant latency: everything arrives, in order and at the same rate, but later."""

import asyncio

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

from ramure.machine import Process

LATENCY = 0.05
"""Seconds each way: to another continent it takes about as long."""

ON_ITS_WAY = 256
"""Pieces that may be on their way in one direction; then the sender waits, as for any link."""


class Late(Process):
    """A process whose input and output take so many seconds on their way."""

    def __init__(self, process, seconds):
        self.process = process
        self.stdin = LateSend(process.stdin, seconds)
        self.stdout = LateReceive(process.stdout, seconds)
        self.stderr = process.stderr

    async def wait(self):
        return await self.process.wait()

    async def signal(self, number):
        await self.process.signal(number)

    async def kill(self):
        await self.process.kill()

    async def resize(self, size):
        await self.process.resize(size)

    async def aclose(self):
        try:
            await self.process.aclose()
        finally:
            self.stdin.pump.cancel()
            self.stdout.pump.cancel()
            await asyncio.wait([self.stdin.pump, self.stdout.pump])


class OnItsWay:
    """What was put in comes out when its time has come."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._queue = asyncio.Queue(ON_ITS_WAY)

    async def put(self, item):
        await self._queue.put((anyio.current_time() + self._seconds, item))

    async def get(self):
        due, item = await self._queue.get()
        await asyncio.sleep(due - anyio.current_time())
        return item


class LateSend(ByteSendStream):
    """Sends later; that the other side is gone is told to who sends after that."""

    def __init__(self, stream, seconds):
        self._stream = stream
        self._way = OnItsWay(seconds)
        self._error = None
        self.pump = asyncio.create_task(self._pump())

    async def _pump(self):
        while (data := await self._way.get()) is not None:
            try:
                if self._error is None:
                    await self._stream.send(data)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                self._error = error
        await self._stream.aclose()

    async def send(self, item):
        if self._error is not None:
            raise anyio.BrokenResourceError from self._error
        await self._way.put(bytes(item))

    async def aclose(self):
        await self._way.put(None)


class LateReceive(ByteReceiveStream):
    """Receives later, the end too."""

    def __init__(self, stream, seconds):
        self._stream = stream
        self._way = OnItsWay(seconds)
        self._rest = b""
        self._end = None
        self.pump = asyncio.create_task(self._pump())

    async def _pump(self):
        try:
            async for data in self._stream:
                await self._way.put(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            await self._way.put(error)
        else:
            await self._way.put(anyio.EndOfStream())

    async def receive(self, max_bytes=65536):
        if self._end is None and not self._rest:
            came = await self._way.get()
            if isinstance(came, bytes):
                self._rest = came
            else:
                self._end = came
        if self._end is not None:
            raise self._end
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def aclose(self):
        await self._stream.aclose()
