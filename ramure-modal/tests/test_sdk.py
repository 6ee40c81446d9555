"""Calls of the SDK that are cancelled."""

import subprocess
import sys

import anyio
import pytest

from ramure_modal.sdk import call

HANGS = 60

AT_ONCE = """
import anyio
from ramure_modal import cloud

async def main():
    with anyio.move_on_after(0):
        await cloud.find_app(None, create=True)

anyio.run(main)
"""


async def slowly(scope, end):
    """As the SDK does: it carries the cancellation to its thread, and waits for the end there."""
    try:
        scope.cancel()
        await anyio.sleep(HANGS)
    finally:
        await anyio.sleep(0.1)  # whoever is cancelled a second time does not come further
        end.append("over")


async def test_a_scope_cancels_once():
    end = []
    with anyio.fail_after(HANGS), anyio.CancelScope() as scope:
        await call(slowly, scope, end)
    assert end == ["over"]


async def test_a_call_that_does_not_end_is_cancelled_again(monkeypatch):
    monkeypatch.setattr("ramure_modal.sdk.GRACE", 0.01)
    with anyio.fail_after(HANGS), anyio.CancelScope() as scope:
        await call(slowly, scope, end := [])
    assert end == []


async def test_an_error_is_raised():
    async def fails(*, why):
        raise ValueError(why)

    with pytest.raises(ValueError, match="so"):
        await call(fails, why="so")


@pytest.mark.usefixtures("cloud")
def test_the_first_call_of_all_is_cancelled_at_once():
    """While the SDK starts its thread."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
