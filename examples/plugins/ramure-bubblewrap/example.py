"""Two clerks, each in a sandbox of its own: neither sees this computer's files, network or keys.

Run it with: python example.py
"""

import asyncio

from ramure import Agent, agent, agent_process, done, wait


@agent_process(host="bubblewrap")
async def count_words(texts: list[str]) -> dict[str, str]:
    """Have each text counted where nothing but the text is."""
    counts: dict[str, str] = {}

    for number, text in enumerate(texts):
        clerk = await agent(f"clerk{number}", harness="clerk")

        @clerk.on("count")
        async def count(path: str, clerk: Agent = clerk) -> str:
            """Count the words in a file of the agent's machine."""
            counted = await clerk.exec(["wc", "-w", path], check=True)
            counts[clerk.name] = counted.stdout.split()[0]
            if len(counts) == len(texts):
                done(counts)
            return counts[clerk.name]

        await clerk.machine.write_file("text", text)
        await clerk.send('say I shall count them.\ncall count {"path": "text"}')

    result: dict[str, str] = await wait()
    return result


if __name__ == "__main__":
    print(asyncio.run(count_words(["one two three", "four five"])))
