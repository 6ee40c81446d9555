"""Containers by ramure 0.0.3, which runs the docker command and has no relay."""

import asyncio

from docker_work import IMAGE, lives, measure, report
from ramure.machines.docker import DockerImage


class Box:
    def __init__(self, machine):
        self.machine = machine

    async def output(self, command):
        result = await self.machine.exec(command, user="root")
        assert result.ok, result
        return result.stdout

    async def put(self, path, data):
        await self.machine.write_file(path, data)

    async def get(self, path):
        return await self.machine.read_file(path)

    async def remove(self):
        await self.machine.stop()


async def make():
    return Box(await DockerImage(IMAGE, network=None).spawn())


async def main():
    box = await make()
    taken = await measure(box)
    await box.remove()
    report(taken, {f"{what}, relay": seconds for what, seconds in taken.items()}, await lives(make))


asyncio.run(main())
