"""Programs that ask for a WebSocket listener: which address their agents dial."""

from contextlib import suppress

import anyio
import pytest

from ramure import agent, agent_process, done, running, wait


async def free_port():
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return listener.extra(anyio.abc.SocketAttribute.local_port)


async def route_and_answer(puppets, **given):
    """What the agent is told to dial, and what a call over that gives."""

    @agent_process(**given)
    async def main():
        w = await agent("w", harness=puppets)

        @w.on("finish")
        async def finish(result: str) -> str:
            done(result)
            return "Recorded."

        return await wait()

    with anyio.fail_after(60):
        async with running(main) as handle:
            await handle.events.listen_for("agent_started", replay=True, timeout=20)
            puppet = await puppets.up("w")
            assert (await puppet.bridge.call("finish", {"result": "42"})).text == "Recorded."
            return puppet.route.address, await handle


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_an_address_alone_opens_any_free_port(puppets, host):
    address, result = await route_and_answer(puppets, host=host)
    told, _, port = address.rpartition(":")
    assert told == ("ws://[::1]" if host == "::1" else "ws://127.0.0.1")
    assert int(port) > 0
    assert result == "42"


async def test_agents_dial_the_base_url(puppets):
    """Here it is that of a proxy which the program knows nothing of."""
    port, seen = await free_port(), []

    async def pump(source, target):
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in source:
                await target.send(chunk)
        await target.aclose()

    async def forward(client):
        seen.append(await client.receive())
        async with client, await anyio.connect_tcp("127.0.0.1", port) as run:
            await run.send(seen[-1])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pump, client, run)
                await pump(run, client)
                tasks.cancel_scope.cancel()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        proxy = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, forward)
            url = f"ws://127.0.0.1:{proxy}/agents"
            told = await route_and_answer(puppets, port=port, base_url=url)
            tasks.cancel_scope.cancel()
    assert told == (url, "42")
    assert seen[0].startswith(b"GET /agents HTTP/1.1\r\n")
