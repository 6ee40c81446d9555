"""Processes that pass everything on, to be broken in one way."""

from ramure.machine import Process


class Wrapped(Process):
    """A process that passes everything on."""

    def __init__(self, process):
        self.process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    async def wait(self):
        return await self.process.wait()

    async def signal(self, number):
        await self.process.signal(number)

    async def kill(self):
        await self.process.kill()

    async def resize(self, size):
        await self.process.resize(size)

    async def aclose(self):
        await self.process.aclose()
