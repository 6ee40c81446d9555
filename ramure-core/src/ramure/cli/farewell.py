"""What became of a run that was live a moment ago, told to whoever watched it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ramure.errors import RunDied

if TYPE_CHECKING:
    from ramure.cli.runs import Run


def look_back(run: Run, logs: Path) -> str:
    """What is wrong now that nobody holds the run any more; "" for nothing.

    Args:
        run: it has ended.
        logs: its log folder.

    Raises:
        RunDied: it ended without a farewell.
    """
    if not _was_told(logs):
        rest = ", and `ramure gc` removes what it left" if run.folder.exists() else ""
        raise RunDied(
            f"the run {run.id} died: its program was killed or crashed. "
            f"`ramure why --id {run.id}` shows what happened{rest}."
        )
    if not run.folder.exists():
        return ""
    from ramure.run import ledger

    left = ", ".join(ledger.read(run.folder).entries) or "some of what it had"
    return f"the run {run.id} has ended, but {left} could not be removed: `ramure gc` tries again"


def _was_told(logs: Path) -> bool:
    """Whether the log tells how the root process ended: that is told when all else is done."""
    from ramure.cli.logs import Reader
    from ramure.cli.look import ENDINGS

    events = Reader(logs, "_runtime", live=True).news()
    return any(e.process == "1" and e.type in ENDINGS and e.source is None for e in events)
