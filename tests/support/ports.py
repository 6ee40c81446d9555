"""Ways from a test's containers to a scripted model, which listens on this computer's loopback."""

from contextlib import asynccontextmanager, suppress

import anyio

from docker_engine import GATEWAY

# A port that leads to a socket: $1 the socket, $2 the address, $3 the port or nothing.
FORWARD = """
const net = require("net");
const server = net.createServer((from) => {
  const to = net.connect(process.argv[1]);
  from.pipe(to).pipe(from);
  for (const end of [from, to]) end.on("error", () => { from.destroy(); to.destroy(); });
}).listen(+process.argv[3] || 0, process.argv[2], () => console.log(server.address().port));
"""


@asynccontextmanager
async def socket_to(model, path):
    """A socket whose every connection leads to the model."""
    port = int(model.url.rpartition(":")[2])

    async def serve(one):
        other = await anyio.connect_tcp("127.0.0.1", port)
        async with one, other, anyio.create_task_group() as tasks:
            tasks.start_soon(_pour, one, other)
            tasks.start_soon(_pour, other, one)

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield
        tasks.cancel_scope.cancel()


async def _pour(source, target):
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for data in source:
            await target.send(data)
        await target.send_eof()


@asynccontextmanager
async def port_on_the_bridge(engine, path):
    """A port that containers reach, in the engine's network namespace; gives its number."""
    command = ["nsenter", f"--net=/proc/{engine.pid}/ns/net", "node", "-e", FORWARD]
    async with await anyio.open_process([*command, str(path), GATEWAY]) as process:
        yield int(await process.stdout.receive())
        process.kill()


@asynccontextmanager
async def on_the_bridge(engine, model, path):
    """The model's URL, as containers on the engine's bridge reach it."""
    async with socket_to(model, path), port_on_the_bridge(engine, path) as port:
        yield f"http://{GATEWAY}:{port}"
