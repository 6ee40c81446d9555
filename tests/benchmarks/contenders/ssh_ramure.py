"""Commands and files on an SSH host: this project, with the relay and without it."""

import asyncio
import os

from commands import measure, report
from files import measure_files

from ramure import SSHImage, agent_process, machine

ssh = os.environ["BENCH_SSH"]


def image(**options):
    return SSHImage(config=f"{ssh}/config", known_hosts=f"{ssh}/known_hosts", **options)


@agent_process(host="ssh://box", timeout=600)
async def main():
    measured = []
    for kind, relay in (("", True), (", without the relay", False)):
        box = await machine(image=image(relay=relay, max_sessions=100))
        measured += [
            await measure(lambda command, box=box: output(box, command), kind),
            await measure_files(box.upload, box.download, kind),
        ]
    report(*measured)


async def output(where, command):
    return (await where.exec(command, check=True)).stdout


asyncio.run(main())
