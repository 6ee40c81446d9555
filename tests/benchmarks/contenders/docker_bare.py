"""Containers by the docker SDK alone."""

import asyncio
import io
import tarfile

import docker
from docker_work import IMAGE, growth, lives, measure, report

client = docker.from_env()


class Box:
    def __init__(self, container):
        self.container = container

    async def output(self, command):
        code, output = self.container.exec_run(["bash", "-c", command])
        assert code == 0
        return output.decode()

    async def put(self, path, data):
        folder, _, name = path.rpartition("/")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        self.container.put_archive(folder, buffer.getvalue())

    async def get(self, path):
        chunks, _ = self.container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            return tar.extractfile(path.rpartition("/")[2]).read()

    async def upload(self, here, there):
        await self.put(there, here.read_bytes())

    async def download(self, there, here):
        here.write_bytes(await self.get(there))

    async def remove(self):
        self.container.remove(force=True)


async def make():
    return Box(client.containers.run(IMAGE, ["sleep", "1000"], detach=True, init=True))


async def main():
    box = await make()
    taken = {**await measure(box), **await growth(box)}
    await box.remove()
    report(taken, {f"{what}, relay": seconds for what, seconds in taken.items()}, await lives(make))
    client.close()


asyncio.run(main())
