"""The process: both services, the place for blobs, and the switches, on loopback ports.

Prints the port of the control plane and of the switches; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from aiohttp import web
from control import RESULTS, Control, Store
from grpclib.server import Server
from lines import Line
from router import Router
from services import Fault


class Emulator:
    """Everything, and the switches that tests work: ``do_…``."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.faults: list[Fault] = []
        self.control = Control(self.store, self.faults)
        self.router = Router(self.store, self.faults)
        self.lines = {"control": Line(), "router": Line()}

    async def start(self) -> tuple[int, int]:
        ports = {}
        for name, service in (("control", self.control), ("router", self.router)):
            ports[name] = await self.lines[name].open(Server([service])._protocol_factory)
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([web.put("/blobs/{name}", self._put), web.post("/switch", self._switch)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        http = site._server.sockets[0].getsockname()[1]
        self.control.blob_url = f"http://127.0.0.1:{http}"
        self.control.router_url = f"http://127.0.0.1:{ports['router']}"
        return ports["control"], http

    async def _put(self, request: web.Request) -> web.Response:
        md5 = hashlib.md5(usedforsecurity=False)
        with (self.store.folder / "blobs" / request.match_info["name"]).open("wb") as file:
            async for chunk in request.content.iter_any():
                md5.update(chunk)
                file.write(chunk)
        return web.Response(headers={"ETag": md5.hexdigest()})

    async def _switch(self, request: web.Request) -> web.Response:
        asked = await request.json()
        answer = await getattr(self, f"do_{asked.pop('do')}")(**asked)
        return web.Response(text=json.dumps(answer))

    async def stop(self) -> None:
        for entry in list(self.store.entries.values()):
            await self.store.end(entry, RESULTS.GENERIC_STATUS_TERMINATED)

    # --- switches

    async def do_fault(self, **fault) -> None:
        self.faults.append(Fault(**fault))

    async def do_mend(self) -> None:
        self.faults.clear()
        for line in self.lines.values():
            line.refusing = False

    async def do_cut(self, line: str = "router") -> None:
        self.lines[line].cut()

    async def do_outage(self, line: str = "router", on: bool = True) -> None:
        self.lines[line].refusing = on
        if on:
            self.lines[line].cut()

    async def do_sandboxes(self) -> list[dict]:
        return [
            {"id": e.id, "name": e.definition.name, "tags": e.tags, "app": e.app,
             "alive": e.result is None, "status": e.result.status if e.result else 0,
             "timeout": e.definition.timeout_secs, "image": e.definition.image_id}
            for e in self.store.entries.values()
        ]  # fmt: skip

    async def do_definition(self, sandbox: str) -> str:
        return str(self.store.entry(sandbox).definition)

    async def do_lose(self, sandbox: str) -> None:
        self.store.entry(sandbox).sandbox._process.kill()
        await self.store.entry(sandbox).ended.wait()

    async def do_expire(self, sandbox: str, seconds: float = 0.0) -> None:
        self.control.expire_in(self.store.entry(sandbox), seconds)

    async def do_internet(self, ports: list[int]) -> None:
        self.store.internet = set(ports)

    async def do_calls(self) -> dict[str, int]:
        return {**self.control.calls, **self.router.calls}

    async def do_logs(self) -> dict[str, str]:
        return self.store.logs

    async def do_specification(self, image: str) -> str:
        return self.store.specifications[image]

    async def do_images(self) -> dict[str, list[str]]:
        return {name: list(image.layers) for name, image in self.store.images.items()}


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="modal-"))
    try:
        emulator = Emulator(folder)
        print(*await emulator.start(), flush=True)
        end = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, lambda: sys.stdin.buffer.read1(1) or end.set())
        await end.wait()
        asyncio.get_running_loop().remove_reader(0)
        await emulator.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
