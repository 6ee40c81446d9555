"""The quick start as ``ramure demo`` runs it: one agent, two tools, one result.

``run_task`` is the program; the rest gives it a folder to work in and, where there is no model to
talk to, one that plays a script.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ramure import agent, agent_process, current_runtime, done, fail, wait

if TYPE_CHECKING:
    from ramure.testing.script import Scripts

TASK = "Write 10 diverse haikus about git rebase."

PATIENCE = 900.0
"""Seconds that a real model gets for its haikus."""

Tell = Callable[[str], object]


async def run_task(spec: str, tell: Tell) -> str:
    """Let one agent work on a task and give what it finishes with."""
    run = current_runtime().id
    tell(f"the run {run} starts pi in tmux")
    worker = await agent("worker")
    tell(f"it works now; watch it with: ramure connect worker --id {run}")

    @worker.on("finish")
    async def on_finish(summary: str) -> str:
        """Call with your result when the task is done."""
        tell("worker called finish()")
        done(summary)
        return "Recorded."

    @worker.on("give_up")
    async def on_give_up(reason: str) -> str:
        """Call if you cannot complete the task."""
        tell("worker called give_up()")
        fail(f"gave_up: {reason}")
        return "Recorded."

    await worker.send(
        f"Task:\n\n{spec}\n\n"
        "When done, call finish(summary) with the whole text. If impossible, call give_up(reason)."
    )
    result: str = await wait()
    return result


async def play(*, real: bool, tell: Tell) -> str:
    """Run the demo in a folder of its own.

    Args:
        real: let pi use the person's own model; else a script plays one.
        tell: is told how it goes.

    Raises:
        RamureError: it failed; nothing is left of it.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ramure-demo-")))
        if not real:
            from ramure.testing.model import ScriptedModel

            model = await stack.enter_async_context(ScriptedModel(_script()))
            stack.enter_context(model.use())
        program = agent_process(image=str(folder), timeout=PATIENCE)(run_task)
        return await program(TASK, tell)


HAIKUS = """\
Commits in a line,
lifted gently from their base:
history made straight.

Pick, squash, reword, drop:
an editor opens, and
the past awaits you.

Conflict in the dark.
Ours is theirs and theirs is ours,
arrows all reversed.

Morning, upstream moved.
My small branch leans after it
like grass after wind.

Force push on Friday:
a silent office, and then
seven phones ringing.

Fix, fix again, fix,
squashed to a single clear thought.
No one saw me guess.

Rebase aborted.
The branch forgets what happened.
Reflog remembers.

Old hashes falling,
new ones budding in their place:
the same leaf, renamed.

Autosquash, and tea.
By the time the cup is cool
the story reads true.

Onto main at last,
a straight road, no merge in sight,
as if planned that way."""
"""What the script's poet comes up with."""


def _script() -> Scripts:
    """What the model says where a script plays it: slowly enough to be watched."""
    from ramure.testing.script import Text, ToolCall

    def spoken(text: str) -> Text:
        return Text(text, chunk=6, pause=0.06)

    return [
        [
            spoken("Ten haikus about git rebase. First a look at what git itself says of it."),
            ToolCall("bash", command="git rebase -h 2>&1 | head -n 12"),
        ],
        [
            spoken("Good: rewriting, conflicts, autosquash, aborting. I write them down.\n"),
            ToolCall("write", path="haikus.txt", content=f"{HAIKUS}\n"),
        ],
        [
            spoken("Are there ten, of three lines each?"),
            ToolCall("bash", command="grep -c . haikus.txt"),
        ],
        [spoken("Thirty lines: ten haikus."), ToolCall("finish", summary=HAIKUS)],
        "The haikus are finished.",
    ]
