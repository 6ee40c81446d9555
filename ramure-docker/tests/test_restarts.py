"""An engine that is restarted under a machine's feet: typed errors, at once and afterwards."""

from contextlib import suppress

import anyio
import pytest

from ramure.errors import LinkBroken, MachineError, MachineGone

HANGS = 90


async def answered(box):
    """What the engine says of a command, once it can be asked again."""
    while True:
        with suppress(LinkBroken):
            return await box.exec("true")
        await anyio.sleep(0.1)


# The SDK leaves sockets open that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_restart(own_engine, own_box):
    backend, box = own_box

    async def waits():
        with pytest.raises(MachineError):
            await box.exec("echo >/tmp/up; exec sleep 1000")

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            while not (await box.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(own_engine.stop)
        with pytest.raises((LinkBroken, MachineGone)):
            await box.exec("true")
        await anyio.to_thread.run_sync(own_engine.launch)
        with pytest.raises(MachineGone):
            await answered(box)
        await box.destroy()
        assert await backend.find({"ramure.run": "own"}, host=own_engine.host) == []
