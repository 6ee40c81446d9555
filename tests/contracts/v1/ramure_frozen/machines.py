"""A backend from nothing but the contract: folders of this computer, commands as they are."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ByteReceiveStream, ByteSendStream

from ramure.errors import MachineGone, PlacementError
from ramure.machine import Backend, Image, Machine, Process
from ramure.values import Host, MachineRef, PtySize


@dataclass(frozen=True)
class FrozenImage(Image):
    backend: ClassVar[str] = "frozen"

    greeting: str = "hello"
    env: dict = field(default_factory=dict, hash=False)


class Input(ByteSendStream):
    def __init__(self, writer):
        self._writer = writer

    async def send(self, item):
        try:
            self._writer.write(item)
            await self._writer.drain()
        except OSError as error:
            raise BrokenResourceError from error

    async def aclose(self):
        self._writer.close()


class Output(ByteReceiveStream):
    def __init__(self, reader):
        self._reader = reader

    async def receive(self, max_bytes=65536):
        if data := await self._reader.read(max_bytes):
            return data
        raise EndOfStream

    async def aclose(self):
        pass


class FrozenProcess(Process):
    def __init__(self, process):
        self._process = process
        self.stdin, self.stdout = Input(process.stdin), Output(process.stdout)
        self.stderr = Output(process.stderr)

    async def wait(self):
        return await self._process.wait()

    async def signal(self, number):
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def kill(self):
        await self.signal(signal.SIGKILL)
        await self._process.wait()

    async def resize(self, size: PtySize):
        pass

    async def aclose(self):
        await self.kill()
        await self.stdin.aclose()


class FrozenMachine(Machine):
    here = True
    transports = ("frozen", "direct")

    def __init__(self, ref):
        self.name, self.ref = ref.name, ref
        self._folder = Path(str(ref.data["folder"]))
        self.workdir, self.state_dir = f"{self._folder}/work", f"{self._folder}/state"

    async def open_process(self, command, *, cwd=None, env=None, user=None, pty=None):
        if not self._folder.is_dir():
            raise MachineGone("its folder is not there", machine=self.name)
        if user is not None or pty is not None:
            raise PermissionError("neither users nor terminals")
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        return FrozenProcess(
            await asyncio.create_subprocess_exec(
                *words,
                stdin=-1,
                stdout=-1,
                stderr=-1,
                cwd=os.path.join(self.workdir, cwd or ""),
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        )

    async def destroy(self):
        shutil.rmtree(self._folder, ignore_errors=True)


class FrozenBackend(Backend):
    name: ClassVar[str] = "frozen"
    image_type = FrozenImage
    here = True

    def read_image(self, text):
        if text not in (None, "hello", "goodbye"):
            raise PlacementError(f"image={text!r}: say hello or goodbye")
        return FrozenImage(text or "hello")

    def check_host(self, host: Host):
        if host.location not in (None, "here"):
            raise PlacementError(f"host={host}: it is here")

    async def provision(self, image, host, *, name, labels, tools=None):
        folder = Path(tempfile.mkdtemp(prefix="frozen-", dir=os.environ["FROZEN_FOLDER"]))
        for part in ("work", "state"):
            (folder / part).mkdir(mode=0o700)
        (folder / "labels.json").write_text(json.dumps({**labels, "name": name}))
        machine = FrozenMachine(MachineRef("frozen", name, {"folder": str(folder)}))
        await machine.write_file("greeting", image.greeting)
        return machine

    async def attach(self, ref):
        if not Path(str(ref.data["folder"])).is_dir():
            raise MachineGone("its folder is not there", machine=ref.name)
        return FrozenMachine(ref)

    async def find(self, labels, *, host):
        found = []
        for file in Path(os.environ["FROZEN_FOLDER"]).glob("frozen-*/labels.json"):
            has = json.loads(file.read_text())
            if labels.items() <= has.items():
                found.append(MachineRef("frozen", has["name"], {"folder": str(file.parent)}))
        return found

    async def destroy(self, ref):
        await FrozenMachine(ref).destroy()
