"""Containers by this project, plain and through the relay."""

import asyncio
import itertools

from docker_work import FILE, IMAGE, growth, lives, measure, report

from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.backend import DockerBackend


class Box:
    def __init__(self, machine):
        self.machine = machine

    async def output(self, command):
        return (await self.machine.exec(command, check=True)).stdout

    async def put(self, path, data):
        await self.machine.write_file(path, data)

    async def get(self, path):
        return await self.machine.read_file(path, max_bytes=len(FILE))

    async def upload(self, here, there):
        await self.machine.upload(here, there)

    async def download(self, there, here):
        await self.machine.download(there, here)

    async def remove(self):
        await self.machine.destroy()


async def main():
    backend = DockerBackend()
    numbers = itertools.count()

    async def make():
        name = f"ramure-bench-{next(numbers)}"
        labels = {"ramure.run": "bench"}
        return Box(
            await backend.provision(DockerImage(IMAGE), Host("docker"), name=name, labels=labels)
        )

    box = await make()
    await box.machine.start_relay()
    plain = Box(box.machine.plain)
    taken = {**await measure(plain), **await measure(box, ", relay")}
    taken |= {**await growth(plain), **await growth(box, ", relay")}
    await box.remove()
    report(taken, await lives(make))
    await backend.aclose()


asyncio.run(main())
