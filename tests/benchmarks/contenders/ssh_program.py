"""Commands and files on an SSH host by the ssh program."""
# ruff: noqa: ASYNC230  there is nothing else to do meanwhile

import asyncio
import os
from asyncio.subprocess import PIPE
from pathlib import Path

from commands import measure, report
from files import measure_files

FOLDER = os.environ["BENCH_SSH"]
SSH = ["ssh", "-F", f"{FOLDER}/config", "-o", f"UserKnownHostsFile={FOLDER}/known_hosts"]


async def both(*options):
    """What is measured, over connections with these options; it is the same with a relay or not."""
    plain = await measure(lambda command: _run(command, options), "")
    files = await measure_files(
        lambda here, there: _pour(here, there, options),
        lambda there, here: _fetch(there, here, options),
        "",
    )
    report(*twice(plain, files))


def twice(*measured):
    """The same beside ramure with its relay and without."""
    for part in measured:
        yield part
        yield {f"{what}, without the relay": taken for what, taken in part.items()}


async def _run(command, options):
    process = await asyncio.create_subprocess_exec(*SSH, *options, "box", command, stdout=PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def _pour(here, there, options):
    with Path(here).open("rb") as file:
        process = await asyncio.create_subprocess_exec(
            *SSH, *options, "box", f"cat >{there}", stdin=file
        )
        assert await process.wait() == 0


async def _fetch(there, here, options):
    with Path(here).open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *SSH, *options, "box", f"cat {there}", stdout=file
        )
        assert await process.wait() == 0
