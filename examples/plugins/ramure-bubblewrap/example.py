"""Clerks, each in a sandbox of its own: none sees this computer's files, network or keys.

Run it with: python example.py
"""

import asyncio

from ramure import agent, agent_process, done, wait


@agent_process
async def count_words(text: str) -> int:
    """Have a text counted where nothing but the text is."""
    clerk = await agent("clerk", harness="clerk")

    @clerk.on("count")
    async def count(path: str) -> str:
        """Count the words in a file of the agent's machine."""
        counted = await clerk.exec(["wc", "-w", path], check=True)
        done(int(counted.stdout.split()[0]))
        return counted.stdout

    await clerk.machine.write_file("text", text)
    await clerk.send('say I shall count them.\ncall count {"path": "text"}')
    result: int = await wait()
    return result


@agent_process(host="bubblewrap")
async def main(texts: list[str]) -> list[int]:
    """Have texts counted, all at once."""
    return await asyncio.gather(*(count_words(text) for text in texts))


if __name__ == "__main__":
    print(asyncio.run(main(["one two three", "four five"])))
