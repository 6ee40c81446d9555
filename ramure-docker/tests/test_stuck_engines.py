"""An engine that does not answer for a while: deadlines hold, and nothing is forgotten."""

import asyncio
import time
from contextlib import suppress
from functools import partial

import anyio
import pytest

import docker_engine
from ramure.errors import LinkBroken, MachineError
from ramure.values import Host
from ramure_docker import DockerImage
from ramure_docker.address import resolve
from ramure_docker.backend import DockerBackend
from ramure_docker.dial import BROKEN, SocketStream, dial

HANGS = 100
SOON = 15
"""Seconds: far above what is promised, far below what an engine may be silent for."""


async def test_a_deadline(own_engine, own_box):
    _, box = own_box
    own_engine.hang()
    with anyio.fail_after(SOON):
        assert (await box.exec("true", timeout=2)).timed_out


async def test_a_cancellation(own_engine, own_box):
    """What it was to start is killed as soon as the engine goes on."""
    _, box = own_box
    own_engine.hang()
    with anyio.fail_after(SOON), anyio.move_on_after(1):
        await box.exec("while :; do echo >>/tmp/beats; sleep 0.1; done")
    own_engine.go_on()
    await beats_end(box)


async def test_a_deadline_of_a_command_that_runs(own_engine, own_box):
    _, box = own_box
    with anyio.fail_after(SOON + 10):
        async with anyio.create_task_group() as tasks:

            async def run():
                beat = "echo up >/tmp/up; while :; do echo >>/tmp/beats; sleep 0.1; done"
                assert (await box.exec(beat, timeout=6)).timed_out

            tasks.start_soon(run)
            while not (await box.exec("test -e /tmp/up")).ok:
                await anyio.sleep(0.05)
            own_engine.hang()
    own_engine.go_on()
    await beats_end(box)


async def beats_end(box):
    """Whatever writes beats is no more."""
    with anyio.fail_after(HANGS):
        seen = None
        while (now := (await box.exec("sleep 1; wc -c /tmp/beats")).stdout) != seen:
            seen = now


async def test_a_removal_that_is_not_done(own_engine, own_box, monkeypatch):
    """By the machine, and by its reference."""
    monkeypatch.setattr("ramure_docker.container.REMOVING", 1.0)
    backend, box = own_box
    own_engine.hang()
    for destroy in (lambda: backend.destroy(box.ref), box.destroy):
        with anyio.fail_after(SOON), pytest.raises(MachineError, match="docker rm -f box"):
            await destroy()
    own_engine.go_on()
    with anyio.fail_after(HANGS):
        await box.destroy()
        assert await backend.find({"ramure.run": "own"}, host=own_engine.host) == []


async def test_what_is_not_answered(own_engine, own_box):
    """Whoever asks learns it, and can ask again."""
    _, box = own_box
    ask = box.container.engine.ask
    own_engine.hang()
    with anyio.fail_after(SOON), pytest.raises(LinkBroken, match="no answer within 1 s"):
        await ask("GET", "/info", patience=1)
    own_engine.go_on()
    assert (await ask("GET", "/info"))["Containers"] == 1


async def falling_silent(engine, when):
    """A way to the engine, which hangs as soon as it is asked for ``when``; that comes through."""
    asked = anyio.Event()

    async def pour(source, target, watched=False):
        with suppress(*BROKEN):
            async for data in source:
                if watched and when in data and not asked.is_set():
                    engine.hang()
                    asked.set()
                await target.send(data)
            await target.send_eof()

    async def come(reader, writer):
        async with (
            SocketStream(reader, writer) as ours,
            await dial(resolve(engine.host)) as theirs,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(pour, theirs, ours)
            tasks.start_soon(pour, ours, theirs, True)

    door = f"{engine.folder}/silent.sock"
    server = await asyncio.start_unix_server(come, door)
    return server, Host("docker", "unix", door), asked


async def test_a_cancelled_making(own_engine, monkeypatch):
    """It is over soon; what the engine makes all the same is removed when it goes on."""
    monkeypatch.setattr("ramure_docker.making.UNDOING", 1.0)
    image, backend = DockerImage("ramure-test/bare", network="none"), DockerBackend()
    server, host, asked = await falling_silent(own_engine, b"/containers/create")
    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(backend.provision, image, host, name="late", labels={}))
            await asked.wait()
            tasks.cancel_scope.cancel()
    own_engine.go_on()
    with anyio.fail_after(HANGS):
        while (happened := what_happened(own_engine, "late"))[-1:] != ["destroy"]:
            await anyio.sleep(0.1)
    assert happened[0] == "create"
    await backend.aclose()
    server.close()


def what_happened(engine, name):
    """To a container, as the engine has it."""

    def ask(api):
        about = {"container": name}
        events = api.events(since=0, until=time.time(), filters=about, decode=True)
        return [event["Action"] for event in events]

    return docker_engine.with_client(engine.url, ask)
