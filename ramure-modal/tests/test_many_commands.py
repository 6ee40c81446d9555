"""More commands at once than the one connection to a sandbox has streams for."""

import anyio

HANGS = 50
"""Below the 60 s after which the SDK breaks off a stream that hangs, so that others can go on."""


async def test_they_wait_for_their_turn_and_not_for_each_other(plain):
    answers = []

    async def one(number):
        done = await plain.exec("read -r line; echo $line", input=f"{number}\n")
        answers.append(done.stdout)

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(one, number)
    assert sorted(answers) == sorted(f"{number}\n" for number in range(60))
