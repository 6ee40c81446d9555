"""Commands and files on an SSH host: asyncssh alone, over one connection."""

import asyncio
import os

import asyncssh
from commands import measure, report
from files import measure_files
from ssh_program import twice

ssh = os.environ["BENCH_SSH"]


async def main():
    known, config = f"{ssh}/known_hosts", [f"{ssh}/config"]
    async with asyncssh.connect("box", config=config, known_hosts=known) as connection:

        async def output(command):
            return (await connection.run(command, check=True)).stdout

        async with connection.start_sftp_client() as sftp:
            measured = await measure(output, ""), await measure_files(sftp.put, sftp.get, "")
    report(*twice(*measured))


asyncio.run(main())
