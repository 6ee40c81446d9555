"""A program that uses all of it."""

import asyncio

from ramure import FrozenImage, agent, agent_process, done, machine, wait


@agent_process(image=FrozenImage("goodbye"))
async def main() -> str:
    box = await machine(image="hello", host="frozen://here")
    greeting = await box.read_file("greeting")
    worker = await agent("worker", harness="frozen", tool="say", env={"A": "b"})

    @worker.on("say")
    async def say(text: str) -> str:
        own = await worker.exec("cat greeting", check=True)
        done(f"{greeting.decode()} {own.stdout} {text}")
        return "Recorded."

    await worker.send("potato")
    return await wait()


if __name__ == "__main__":
    print(asyncio.run(main()))
