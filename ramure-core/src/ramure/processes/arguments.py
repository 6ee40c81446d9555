"""What ``agent()`` was given is looked at here, before anything is started."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ramure.agents.settings import AgentSettings, Nudge
from ramure.errors import InvalidName, UsageError
from ramure.harness import Harness
from ramure.machine import Machine

AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""What an agent may be called: it names files, and people type it."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def check_name(name: object) -> None:
    """Refuse what no agent can be called.

    Raises:
        InvalidName: it cannot be used.
    """
    if not isinstance(name, str) or not AGENT_NAME.fullmatch(name):
        raise InvalidName(
            f"agent {name!r}: a name is 1 to 64 letters, digits, '_', '.' or '-', "
            "and starts with a letter or a digit"
        )


def check_where(name: str, machine: object, harness: object, *, placed: bool) -> None:
    """Refuse what is no machine and no harness.

    Args:
        name: the agent's.
        machine: what was given for ``machine=``.
        harness: what was given for ``harness=``.
        placed: ``image=`` or ``host=`` was given, too.

    Raises:
        UsageError: it cannot work.
    """
    if machine is not None and not isinstance(machine, Machine):
        raise UsageError(
            f"agent {name!r}: machine={machine!r} is no machine; give what `await machine(…)` "
            "returned, or another agent's .machine"
        )
    if machine is not None and placed:
        raise UsageError(f"agent {name!r}: machine= is given, so image= and host= say nothing")
    if not isinstance(harness, str | Harness):
        raise UsageError(
            f"agent {name!r}: harness={harness!r} is neither a harness's name nor a Harness"
        )


def check_settings(name: str, settings: AgentSettings) -> None:
    """Refuse settings that no agent can have.

    Raises:
        UsageError: one of them cannot be used.
    """
    for key in ("system_prompt", "model", "cwd"):
        value = getattr(settings, key)
        if not isinstance(value, str | None):
            raise UsageError(f"agent {name!r}: {key}={value!r} is not a str")
    if settings.on_failure not in ("fail", "ignore", "restart"):
        given = settings.on_failure
        raise UsageError(f"agent {name!r}: on_failure={given!r} is not fail, ignore, restart")
    if not isinstance(settings.nudge, Nudge | None):
        raise UsageError(f"agent {name!r}: nudge={settings.nudge!r} is neither a str nor a Nudge")
    _check_seconds(name, "start_timeout", settings.start_timeout)
    for key in ("stall_timeout", "tool_timeout"):
        if (seconds := getattr(settings, key)) is not None:
            _check_seconds(name, key, seconds)


def environment(name: str, env: object) -> dict[str, str]:
    """What was given for ``env=``, where it can be an environment.

    Raises:
        UsageError: it cannot. The message has no value in it: it may be a secret.
    """
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise UsageError(f"agent {name!r}: env= is a {type(env).__name__}, not a mapping")
    for key, value in env.items():
        if not isinstance(key, str) or not _VARIABLE.fullmatch(key):
            raise UsageError(f"agent {name!r}: env={{{key!r}: …}} names no variable")
        if not isinstance(value, str):
            kind = type(value).__name__
            raise UsageError(
                f"agent {name!r}: env={{{key!r}: …}} is of type {kind}, and a variable is a str: "
                "use str(…)"
            )
        if "\0" in value:
            raise UsageError(f"agent {name!r}: env={{{key!r}: …}} holds a NUL character")
    return dict(env)


def check_options(
    name: str, options: Mapping[str, Any], harness: Harness, called: Callable[..., Any]
) -> None:
    """Refuse options that the harness does not understand.

    Args:
        name: the agent's.
        options: what was given beyond the parameters of ``called``.
        harness: who is to understand them; one that declares none is given all.
        called: the function that was called, whose parameters may have been meant.

    Raises:
        UsageError: one of them is unknown, and the message says what may have been meant; or the
            harness refuses its value.
    """
    for option in options:
        if harness.options is not None and option not in harness.options:
            parameters = [p for p in inspect.signature(called).parameters if p != "options"]
            raise UsageError(
                f"agent {name!r}: there is no argument {option}="
                f"{_meant(option, [*parameters, *harness.options])}; beyond its own, agent() takes "
                f"what the harness {harness.name!r} understands: {_listed(harness.options)}"
            )
    if wrong := harness.refuse(options):
        raise UsageError(f"agent {name!r}: {wrong}")


def _check_seconds(name: str, key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"agent {name!r}: {key}={value!r} is not a positive number of seconds")


def _meant(option: str, known: Iterable[str]) -> str:
    near = get_close_matches(option, known, n=1)
    return f" (did you mean {near[0]}=?)" if near else ""


def _listed(options: Iterable[str]) -> str:
    return ", ".join(f"{option}=" for option in sorted(options)) or "nothing"
