"""The machine contract: ``exec``."""

from __future__ import annotations

import asyncio
import os
import posixpath
import signal
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from ramure.errors import CommandFailed, UsageError
from ramure.machine import Machine
from ramure.testing._contract import Contract, without_a_shell

ARGUMENTS = (
    "with space",
    "",
    "'single' \"double\"",
    "$HOME `id` $(id)",
    "*",
    "a\nb\n",
    "back\\slash",
    "-n",
    "; exit 9 #",
    "ünï — 世界",
    "~",
    "tab\there",
)
PRINT = ["sh", "-c", 'printf "%s\\0" "$@"', "sh"]


class ExecContract(Contract):
    """Commands, their arguments, input, output, limits and ends."""

    # --- what is run

    async def test_output_and_exit_code(self, machine: Machine) -> None:
        result = await machine.exec("echo out; echo err >&2; exit 3")
        assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
        assert not result.ok
        assert not result.timed_out
        assert not result.truncated
        assert result.duration > 0

    async def test_a_string_is_run_by_a_shell(self, machine: Machine) -> None:
        result = await machine.exec("A=1; echo $((A + 1)) | cat && true")
        assert result.stdout == "2\n"

    async def test_the_shell_is_bash_where_there_is_one(self, machine: Machine) -> None:
        there = (await machine.exec(["sh", "-c", "command -v bash"])).ok
        result = await machine.exec('echo "${BASH_VERSION:+bash}"')
        assert result.stdout == ("bash\n" if there else "\n")

    async def test_a_list_is_never_parsed(self, machine: Machine) -> None:
        result = await machine.exec([*PRINT, *ARGUMENTS])
        assert result.stdout.split("\0")[:-1] == list(ARGUMENTS)

    async def test_the_environment_arrives_as_it_is(self, machine: Machine) -> None:
        env = {f"RAMURE_TEST_{number}": text for number, text in enumerate(ARGUMENTS)}
        names = [f'"${name}"' for name in env]
        result = await machine.exec(["sh", "-c", f'printf "%s\\0" {" ".join(names)}'], env=env)
        assert result.stdout.split("\0")[:-1] == list(ARGUMENTS)

    async def test_no_name_is_taken(self, machine: Machine) -> None:
        """Whatever starts a command may have variables of its own, but not of these names."""
        common = "command code dir end file folder found n name old path program seconds user word"
        env = {name: f"a\n{name}" for name in [*common.split(), *"abcdefghijklmopqrstuvwxyz"]}
        env["n"] = "not a newline"
        names = [f'"${name}"' for name in env]
        result = await machine.exec(f'printf "%s\\0" {" ".join(names)}', env=env)
        assert result.stdout.split("\0")[:-1] == list(env.values())

    async def test_the_environment_is_for_one_command(self, machine: Machine) -> None:
        await machine.exec("true", env={"RAMURE_TEST": "here"})
        assert (await machine.exec('echo "[$RAMURE_TEST]"')).stdout == "[]\n"

    async def test_the_environment_is_in_no_argument_list(self, machine: Machine) -> None:
        secret = f"secret-{os.urandom(8).hex()}"
        everybody = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; ps -A -ww -o args"
        async with await machine.open_process(
            'echo "${#SECRET}"; read -r line', env={"SECRET": secret}
        ) as process:
            assert await process.stdout.receive()  # it runs, and will until it is told to end
            shown = (await machine.exec(everybody)).stdout
        assert "read -r line" in shown
        assert secret not in shown

    async def test_it_runs_in_workdir(self, machine: Machine) -> None:
        assert (await machine.exec(["pwd", "-P"])).stdout.strip() == await _real(machine, ".")
        assert machine.workdir.startswith("/")

    async def test_cwd_may_be_relative(self, machine: Machine) -> None:
        await machine.exec(["mkdir", "-p", "a b/c"], check=True)
        result = await machine.exec(["pwd", "-P"], cwd="a b/c")
        assert result.stdout.strip() == await _real(machine, "a b/c")
        assert (await machine.exec("pwd", cwd="/")).stdout == "/\n"

    async def test_a_missing_cwd(self, machine: Machine) -> None:
        with pytest.raises(FileNotFoundError) as raised:
            await machine.exec("echo ran > /tmp/x", cwd="not/there")
        assert raised.value.filename == posixpath.join(machine.workdir, "not/there")
        with pytest.raises(FileNotFoundError) as raised:
            await machine.exec(["true"], cwd="/not/there")
        assert raised.value.filename == "/not/there"
        assert "true" not in str(raised.value)
        await machine.write_file("a-file", "")
        with pytest.raises(NotADirectoryError) as refused:
            await machine.exec(["true"], cwd="a-file")
        assert refused.value.filename == posixpath.join(machine.workdir, "a-file")

    @without_a_shell
    async def test_a_missing_program(self, machine: Machine) -> None:
        with pytest.raises(FileNotFoundError):
            await machine.exec(["ramure-has-no-such-program"])
        assert (await machine.exec("ramure-has-no-such-program")).exit_code == 127

    async def test_a_program_that_may_not_be_run(self, machine: Machine) -> None:
        await machine.write_file("script", "#!/bin/sh\n", mode=0o600)
        with pytest.raises(PermissionError):
            await machine.exec(["./script"])

    @pytest.mark.parametrize(
        ("command", "options"),
        [
            ([], {}),
            ("", {}),
            ([""], {}),
            (["echo", "a\0b"], {}),
            ("echo a\0b", {}),
            ("true", {"timeout": 0}),
            ("true", {"timeout": -1}),
            ("true", {"timeout": float("nan")}),
            ("true", {"max_output": -1}),
            ("true", {"env": {"A=B": "1"}}),
            ("true", {"env": {"": "1"}}),
            ("true", {"env": {"A": "a\0b"}}),
            ("true", {"env": {"A": 1}}),
            (["echo", "not \udc80 UTF-8"], {}),
            ("echo not \udc80 UTF-8", {}),
            ("true", {"env": {"A": "not \udc80 UTF-8"}}),
            ("true", {"cwd": "/not \udc80 UTF-8"}),
            ([1, 2], {}),
        ],
    )
    @without_a_shell
    async def test_nonsense_is_refused(
        self, machine: Machine, command: Any, options: Mapping[str, Any]
    ) -> None:
        with pytest.raises(UsageError):
            await machine.exec(command, **options)

    # --- how it ends

    async def test_exit_code_124_is_no_time_out(self, machine: Machine) -> None:
        result = await machine.exec("exit 124", timeout=self.patience)
        assert result.exit_code == 124
        assert not result.timed_out

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
    async def test_ended_by_a_signal(self, machine: Machine, number: int) -> None:
        result = await machine.exec(["sh", "-c", f"kill -{int(number)} $$"])
        assert result.exit_code == -number

    async def test_check_tells_what_failed(self, machine: Machine) -> None:
        with pytest.raises(CommandFailed, match=r"(?s)echo.*exit code 3.*the reason") as caught:
            await machine.exec("echo out; echo the reason >&2; exit 3", check=True)
        assert caught.value.result.stdout == "out\n"
        assert caught.value.result.exit_code == 3
        assert caught.value.machine == machine.name

    async def test_a_time_out_keeps_what_came(self, machine: Machine) -> None:
        result = await machine.exec("echo out; echo err >&2; exec sleep 1000", timeout=2)
        assert result.timed_out
        assert result.exit_code is None
        assert (result.stdout, result.stderr) == ("out\n", "err\n")
        assert (await machine.exec("echo still here")).stdout == "still here\n"

    async def test_a_time_out_with_check(self, machine: Machine) -> None:
        with pytest.raises(CommandFailed, match=r"(?s)within 0\.5 s") as caught:
            await machine.exec("sleep 1000", timeout=0.5, check=True)
        assert caught.value.result.timed_out

    async def test_a_time_out_ends_though_a_child_holds_the_pipes(self, machine: Machine) -> None:
        with anyio.fail_after(self.patience):
            result = await machine.exec("sleep 1000 & sleep 1000", timeout=0.5)
        assert result.timed_out

    async def test_a_time_out_kills_all(self, machine: Machine) -> None:
        result = await machine.exec(f"{self.beating('beat')} sleep 1000", timeout=3)
        assert result.timed_out
        assert await self.beats(machine, "beat"), "the child never came up"
        assert not await self.lives(machine, "beat")

    async def test_a_time_out_kills_what_its_parents_have_left(self, machine: Machine) -> None:
        orphan = f"( ( {self.beating('beat')} ) & );"
        result = await machine.exec(f"{orphan} sleep 1000", timeout=3)
        assert result.timed_out
        assert await self.beats(machine, "beat"), "the child never came up"
        assert not await self.lives(machine, "beat")

    async def test_a_time_out_kills_what_is_forked_meanwhile(self, machine: Machine) -> None:
        child = "env -i sh -c 'while :; do sleep 1; echo >>beat; done' &"
        grow = f"i=0; while [ $i -lt 3000 ]; do {child} i=$((i + 1)); done; wait"
        assert (await machine.exec(grow, timeout=0.5)).timed_out
        with anyio.fail_after(self.patience):
            before = -1
            while before != (before := await self.beats(machine, "beat")):  # noqa: ASYNC110 none comes
                await anyio.sleep(3)

    async def test_a_normal_end_does_not_wait_for_children(self, machine: Machine) -> None:
        with anyio.fail_after(self.patience):
            result = await machine.exec(f"{self.beating('beat')} echo done")
        assert result.stdout == "done\n"
        assert result.exit_code == 0

    async def test_a_normal_end_kills_nothing(self, machine: Machine) -> None:
        await machine.exec(self.beating("beat"))
        await self.started(machine, "beat")
        assert await self.lives(machine, "beat")

    async def test_cancellation_kills_all(self, machine: Machine) -> None:
        async def cancelled() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(machine.exec, f"{self.beating('beat')} sleep 1000")
                await self.started(machine, "beat")
                tasks.cancel_scope.cancel()

        with anyio.fail_after(self.patience):
            await cancelled()
        assert not await self.lives(machine, "beat")

    async def test_cancelling_twice_kills_all(self, machine: Machine) -> None:
        task = asyncio.ensure_future(machine.exec(f"{self.beating('beat')} sleep 1000"))
        await self.started(machine, "beat")
        task.cancel()
        for _ in range(20):  # in the midst of its cleanup, too
            await asyncio.sleep(0)
            task.cancel()
        with anyio.fail_after(self.patience), pytest.raises(asyncio.CancelledError):
            await task
        assert not await self.lives(machine, "beat")

    async def test_cancelling_a_start_leaves_nothing(self, machine: Machine) -> None:
        async def starts(number: int) -> None:
            with anyio.move_on_after(number * 0.004):
                await machine.exec(f"{self.beating(f'beat{number}')} sleep 1000")

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(starts, number)
        for number in range(12):
            before = await self.beats(machine, f"beat{number}")
            await anyio.sleep(0.25)
            assert await self.beats(machine, f"beat{number}") == before

    # --- what goes in and out

    @without_a_shell
    async def test_bytes_go_through_unchanged(self, machine: Machine) -> None:
        data = bytes(range(256)) * 20_000
        result = await machine.exec(["cat"], input=data)
        assert result.stdout_bytes == data

    @without_a_shell
    async def test_text_as_input(self, machine: Machine) -> None:
        assert (await machine.exec(["cat"], input="ünï\n")).stdout == "ünï\n"

    @without_a_shell
    async def test_without_input_there_is_none(self, machine: Machine) -> None:
        with anyio.fail_after(self.patience):
            assert (await machine.exec(["cat"])).stdout == ""

    async def test_input_that_nobody_reads(self, machine: Machine) -> None:
        with anyio.fail_after(self.patience):
            result = await machine.exec("exec true", input=b"x" * self.big)
        assert result.exit_code == 0

    async def test_input_that_is_read_late(self, machine: Machine) -> None:
        result = await machine.exec("sleep 0.5; wc -c", input=b"x" * 5_000_000)
        assert result.stdout.strip() == "5000000"

    async def test_much_output_on_both_streams(self, machine: Machine) -> None:
        both = f"head -c {self.big} /dev/zero >&2; head -c {self.big} /dev/zero"
        result = await machine.exec(both)
        assert len(result.stdout_bytes) == self.big
        assert len(result.stderr_bytes) == self.big
        assert not result.truncated

    async def test_output_and_input_at_once(self, machine: Machine) -> None:
        data = os.urandom(3_000_000)
        result = await machine.exec(["tee", "/dev/stderr"], input=data)
        assert result.stdout_bytes == data
        assert result.stderr_bytes == data

    async def test_what_is_too_much_is_thrown_away(self, machine: Machine) -> None:
        command = "printf abcdef; head -c 10000000 /dev/zero; echo error >&2; exit 4"
        result = await machine.exec(command, max_output=4)
        assert result.stdout_bytes == b"abcd"
        assert result.stderr_bytes == b"erro"
        assert result.truncated
        assert result.exit_code == 4

    async def test_exactly_as_much_as_is_kept(self, machine: Machine) -> None:
        result = await machine.exec("printf abcd", max_output=4)
        assert result.stdout_bytes == b"abcd"
        assert not result.truncated

    async def test_output_that_is_no_text(self, machine: Machine) -> None:
        result = await machine.exec("printf 'a\\377b'")
        assert result.stdout == "a\ufffdb"
        assert result.stdout_bytes == b"a\xffb"

    async def test_the_last_bytes_arrive(self, machine: Machine) -> None:
        for _ in range(20):
            result = await machine.exec("head -c 70000 /dev/zero; printf end; printf fin >&2")
            assert len(result.stdout_bytes) == 70003
            assert result.stdout_bytes.endswith(b"end")
            assert result.stderr == "fin"

    async def test_many_at_once(self, machine: Machine) -> None:
        async def one(number: int) -> None:
            result = await machine.exec(
                f"read -r line; echo $line; exit {number}", input=f"{number}\n"
            )
            results[number] = (result.stdout, result.exit_code)

        results: dict[int, tuple[str, int | None]] = {}
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)
        assert results == {number: (f"{number}\n", number) for number in range(50)}

    # --- who runs it

    async def test_as_another_user(self, machine: Machine) -> None:
        self.needs("other_user")
        result = await machine.exec(["id", "-un"], user=self.other_user, cwd="/")
        assert result.stdout.strip() == self.other_user

    @without_a_shell
    async def test_as_nobody_known(self, machine: Machine) -> None:
        with pytest.raises(PermissionError):
            await machine.exec("true", user="ramure-has-no-such-user")


async def _real(machine: Machine, path: str) -> str:
    return (await machine.exec(f"cd '{path}' && pwd -P", check=True)).stdout.strip()
