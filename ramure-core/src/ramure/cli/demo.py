"""``ramure demo``: the quick start, on the real pi in a real tmux."""

from __future__ import annotations

from typing import Annotated

import typer

from ramure.cli import output
from ramure.errors import AgentError


def demo(
    *,
    real: Annotated[
        bool | None,
        typer.Option(
            "--real/--scripted",
            help="A real model, or the embedded scripted one; by default what pi can use.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the quick start: an agent writes haikus and calls back into Python."""
    import asyncio

    from ramure.cli.login import find_login
    from ramure.demo import play

    login = find_login()
    if real is None:
        real = bool(login)
        if not real:
            output.tell("demo: no model key and no pi login was found, so a script plays the model")
            output.tell(
                "      (`pi` and then /login, or a key like ANTHROPIC_API_KEY, change that)"
            )
    elif not real:
        output.tell("demo: a script plays the model")
    if real:
        output.tell(f"demo: the model is a real one, by {login or 'whatever pi finds'}")
    try:
        result = asyncio.run(play(real=real, tell=lambda text: output.tell(f"demo: {text}")))
    except AgentError:
        if real:
            output.tell("demo: it failed; `ramure demo --scripted` needs no model")
        raise
    output.show(result)
