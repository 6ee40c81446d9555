"""The machine contract: ``open_process``, and the end of a machine."""

from __future__ import annotations

import signal
from contextlib import suppress

import anyio
import pytest
from anyio import EndOfStream
from anyio.abc import ByteReceiveStream

from ramure.errors import MachineError, MachineGone
from ramure.machine import Machine
from ramure.testing._contract import Contract, without_a_shell
from ramure.values import PtySize


class ProcessContract(Contract):
    """Streams, signals, terminals; ``destroy``."""

    @without_a_shell
    async def test_a_conversation(self, machine: Machine) -> None:
        async with await machine.open_process(["cat"]) as process:
            for line in (b"one\n", b"two\n"):
                await process.stdin.send(line)
                assert await self.read(process.stdout, line) == line
            await process.stdin.aclose()
            assert await process.wait() == 0
            with pytest.raises(EndOfStream):
                await process.stdout.receive()

    async def test_waiting_again(self, machine: Machine) -> None:
        async with await machine.open_process("exit 5") as process:
            assert [await process.wait(), await process.wait()] == [5, 5]

    async def test_waiting_does_not_mind_children(self, machine: Machine) -> None:
        async with await machine.open_process("sleep 1000 & exit 5") as process:
            with anyio.fail_after(self.patience):
                assert await process.wait() == 5
            await process.kill()

    async def test_a_signal_reaches_the_group(self, machine: Machine) -> None:
        child = "trap 'echo caught; exit' TERM; echo ready; while :; do sleep 0.1; done"
        async with await machine.open_process(["sh", "-c", f"({child}) & wait"]) as process:
            await self.read(process.stdout, b"ready\n")
            await process.signal(signal.SIGTERM)
            assert await process.wait() == -signal.SIGTERM
            assert await self.read(process.stdout, b"caught\n") == b"caught\n"

    async def test_a_signal_after_the_end(self, machine: Machine) -> None:
        async with await machine.open_process("exit 0") as process:
            await process.wait()
            await process.signal(signal.SIGTERM)
            await process.kill()

    async def test_kill_kills_all(self, machine: Machine) -> None:
        async with await machine.open_process(f"{self.beating('beat')} sleep 1000") as process:
            await self.started(machine, "beat")
            await process.kill()
            assert await process.wait() == -signal.SIGKILL
            assert not await self.lives(machine, "beat")

    async def test_leaving_kills_what_runs(self, machine: Machine) -> None:
        async with await machine.open_process(f"{self.beating('beat')} sleep 1000") as process:
            await self.started(machine, "beat")
        assert not await self.lives(machine, "beat")
        await process.aclose()

    async def test_leaving_kills_nothing_of_what_has_ended(self, machine: Machine) -> None:
        async with await machine.open_process(self.beating("beat")) as process:
            await process.wait()
        await self.started(machine, "beat")
        assert await self.lives(machine, "beat")

    async def test_a_slow_reader_loses_nothing(self, machine: Machine) -> None:
        size = 2_000_000
        async with await machine.open_process(f"head -c {size} /dev/zero") as process:
            await anyio.sleep(0.5)
            got = 0
            async for chunk in process.stdout:
                got += len(chunk)
        assert got == size

    # --- terminals

    async def test_without_a_terminal(self, machine: Machine) -> None:
        assert not (await machine.exec("test -t 0 || test -t 1 || test -t 2")).ok

    async def test_a_terminal_and_its_size(self, machine: Machine) -> None:
        self.needs("pty")
        command = "test -t 0 && test -t 1 && test -t 2 && stty size"
        async with await machine.open_process(command, pty=PtySize(101, 33)) as process:
            assert await self.read(process.stdout, b"\r\n") == b"33 101\r\n"
            assert await process.wait() == 0
            for stream in (process.stdout, process.stderr):
                with pytest.raises(EndOfStream):
                    await stream.receive()

    async def test_a_terminal_that_changes_its_size(self, machine: Machine) -> None:
        self.needs("pty")
        command = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done"
        async with await machine.open_process(["sh", "-c", command], pty=PtySize()) as process:
            await self.read(process.stdout, b"ready")
            await process.resize(PtySize(120, 50))
            assert b"50 120" in await self.read(process.stdout, b"50 120")
            assert await process.wait() == 0

    async def test_control_c_in_a_terminal(self, machine: Machine) -> None:
        self.needs("pty")
        command = ["sh", "-c", "echo ready; exec sleep 1000"]
        async with await machine.open_process(command, pty=PtySize()) as process:
            await self.read(process.stdout, b"ready")
            await process.stdin.send(b"\x03")
            with anyio.fail_after(self.patience):
                assert await process.wait() == -signal.SIGINT

    async def test_a_terminal_gets_the_words_as_they_are(self, machine: Machine) -> None:
        self.needs("pty")
        command = ["printf", "[%s]", "a b", "", "$HOME;*"]
        async with await machine.open_process(command, pty=PtySize()) as process:
            assert await self.read(process.stdout, b"*]") == b"[a b][][$HOME;*]"

    async def test_a_missing_program_in_a_terminal(self, machine: Machine) -> None:
        self.needs("pty")
        with pytest.raises(FileNotFoundError):
            await machine.open_process(["ramure-has-no-such-program"], pty=PtySize())

    # --- the machine's end

    async def test_the_state_folder_is_the_owners(self, machine: Machine) -> None:
        shown = (await machine.exec(["ls", "-ld", machine.state_dir], check=True)).stdout
        assert shown.startswith("drwx------")

    @without_a_shell
    async def test_destroying(self, machine: Machine) -> None:
        with anyio.fail_after(self.patience):
            await machine.destroy()
            await machine.destroy()
        with pytest.raises(MachineGone):
            await machine.exec("true")

    async def test_destroying_ends_what_runs(self, machine: Machine) -> None:
        ended = anyio.Event()

        async def runs() -> None:
            with suppress(MachineError):
                assert not (await machine.exec("echo >up; exec sleep 1000")).ok
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runs)
            with anyio.fail_after(self.patience):
                await self.started(machine, "up")
                await machine.destroy()
                await ended.wait()

    async def read(self, stream: ByteReceiveStream, until: bytes) -> bytes:
        """Read until ``until`` has come, and what comes with it."""
        data = b""
        with anyio.fail_after(self.patience):
            while until not in data:
                data += await stream.receive()
        return data
