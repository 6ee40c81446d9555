# /// script
# requires-python = ">=3.11"
# dependencies = ["ramure>=0.1"]
# ///
"""Code review by two connected agents.

An author changes a file, a reviewer looks at the change, and they write to each other until the
reviewer approves. Each works in a folder of its own: what the reviewer sees is what the author has
sent, and what comes out is what the reviewer has approved.

    uv run code_review.py parser.py "Accept comments that begin with #." --output parser_new.py
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys
import tempfile
from pathlib import Path

from ramure import RamureError, agent, agent_process, connect, done, fail, wait

PATIENCE = 3600
"""Seconds for the whole review."""

SILENCE = 120
"""Seconds after which a review in which nobody does anything any more has failed."""

AUTHOR = """\
You change a file of Python as you are told. Try what you have written. Then give the file to the
reviewer with send_file, and say with message what you have done and why. Answer their comments the
same way: mend the file, send it again, say so. End your turn whenever you wait for them.
"""

REVIEWER = """\
You review changes to a file of Python that the author sends you. Read the change with a critical
eye: is it what was asked for, is it right, is it simple? Try it. Tell the author with message what
has to change, and end your turn; they send the file again. When you would put your name to it, call
approve(comment). If it leads nowhere, call reject(reason).
"""


@agent_process(timeout=PATIENCE, idle_timeout=SILENCE)
async def review(source: Path, wish: str, output: Path, desks: Path) -> str:
    """Have a file changed and reviewed; what was approved is written to ``output``.

    ``desks`` is a folder for the two folders that the agents work in.
    """
    for name in ("author", "reviewer"):
        (desks / name).mkdir()
    author, reviewer = await asyncio.gather(
        agent("author", system_prompt=AUTHOR, image=str(desks / "author")),
        agent("reviewer", system_prompt=REVIEWER, image=str(desks / "reviewer")),
    )
    connect(author, reviewer)

    @reviewer.on("approve")
    async def approve(comment: str) -> str:
        """Call when the file, as you have it, may be used."""
        done(comment)
        return "Recorded."

    @reviewer.on("reject")
    async def reject(reason: str) -> str:
        """Call if no change is going to be good."""
        fail(f"the reviewer rejects it: {reason}")
        return "Recorded."

    await author.upload(source, source.name)
    await reviewer.upload(source, f"before_{source.name}")
    await reviewer.send(
        f"The author has been asked to change {source.name}: {wish}\n"
        f"before_{source.name} is how it was. Wait for the author's message."
    )
    await author.send(f"Change {source.name}, in your working directory: {wish}")
    comment: str = await wait()
    await reviewer.download(source.name, output)
    return comment


def main() -> int:
    """Read the command line, have the review, show the change."""
    parser = argparse.ArgumentParser(description="Have a file changed and reviewed.")
    parser.add_argument("file", type=Path)
    parser.add_argument("wish", help="what is to change, in words")
    parser.add_argument("--output", type=Path, help="where the new file goes; else in its place")
    given = parser.parse_args()
    output: Path = given.output or given.file
    try:
        before = given.file.read_text()
    except OSError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="review-") as desks:
            comment = asyncio.run(review(given.file, given.wish, output, Path(desks)))
    except RamureError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    lines = (before.splitlines(), output.read_text().splitlines())
    print(*difflib.unified_diff(*lines, "before", "after", lineterm=""), sep="\n")
    print(f"\napproved: {comment}\nwritten to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
