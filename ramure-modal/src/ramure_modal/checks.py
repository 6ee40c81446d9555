"""What ``ramure doctor`` looks at."""

from __future__ import annotations

from typing import Any

import anyio

from ramure.values import Problem

PATIENCE = 15.0
"""Seconds in which Modal has to answer."""


def _has_token(modal: Any) -> bool:
    """Whether somebody has set one up, here or in the environment."""
    return bool(modal.config.config.get("token_id"))


async def cloud() -> list[Problem]:
    """Whether there is a token, and whether Modal knows it."""
    import modal

    from ramure_modal.errors import unusable
    from ramure_modal.sdk import call

    try:
        with anyio.fail_after(PATIENCE):
            client: Any = await call(modal.Client.from_env.aio)
            await call(client.hello.aio)
    except Exception as error:  # noqa: BLE001 whatever it is, a person is to know
        what, _, cure = unusable(error).partition("): ")
        return [Problem(f"{what})" if cure else repr(error), cure, unused=not _has_token(modal))]
    return []
