"""Programs in processes of their own, each with a container, which can be killed."""

import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent(
    """
    import asyncio
    from ramure import agent_process, machine
    from ramure_docker import DockerImage

    @agent_process
    async def main():
        box = await machine(image=DockerImage("ramure-test/shell", lease=LEASE), host="HOST")
        print(box.name, flush=True)
        BODY

    asyncio.run(main())
    """
)


class Program:
    """A program in a process of its own, with a container.

    Attributes:
        machine: the name of its container.
        run: its run's id.
    """

    def __init__(self, *, lease=120, body="await asyncio.sleep(1000)", host="docker"):
        text = PROGRAM.replace("LEASE", str(lease)).replace("BODY", body).replace("HOST", host)
        command = [sys.executable, "-c", text]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.machine = self.process.stdout.readline().strip()
        self.run = self.machine.split("-")[1]

    def keeper(self):
        """The process of the run's keeper."""
        done = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid,args"], capture_output=True, text=True, check=True
        )
        [line] = [x for x in done.stdout.splitlines() if "keeper.py" in x and self.run in x]
        return int(line.split()[0])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        assert self.machine
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdout.close()
