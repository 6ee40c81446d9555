"""Scripts on paper: how they reach an agent that is played by another program."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, get_args

import msgspec

from ramure.testing._actor import Role
from ramure.testing.playbook import by_name
from ramure.testing.script import Part, Play, Script, Scripts, parts

SETTINGS = "scripted.json"

Written = str | list[str | list[dict[str, Any]]]
"""A script as JSON: a function is ``"module:name"``."""


class Settings(msgspec.Struct):
    """What to play. Secret: the agent's token is in it."""

    role: Role
    scripts: dict[str, Written]
    cycle: bool = False


def settings_json(role: Role, scripts: Scripts, *, cycle: bool) -> bytes:
    """The contents of ``scripted.json``.

    Raises:
        TypeError: a script cannot be written down.
    """
    written = {name: to_json(script) for name, script in by_name(scripts).items()}
    return msgspec.json.encode(Settings(role, written, cycle))


def to_json(script: Script) -> Written:
    """A script as JSON, for another program to play.

    Raises:
        TypeError: there is something in it that is no JSON, or a function that cannot be imported.
    """
    if callable(script):
        return _name(script)
    return [
        _name(turn)
        if callable(turn)
        else [{"part": type(part).__name__, **msgspec.to_builtins(part)} for part in parts(turn)]
        for turn in script
    ]


def from_json(written: Written) -> Script:
    """What ``to_json`` was given."""
    if isinstance(written, str):
        return _named(written)
    return [
        _named(turn) if isinstance(turn, str) else [_revived(dict(part)) for part in turn]
        for turn in written
    ]


def _name(play: Play) -> str:
    module, name = getattr(play, "__module__", ""), getattr(play, "__qualname__", "")
    if getattr(sys.modules.get(module), name, None) is not play or module == "__main__":
        raise TypeError(
            f"{play!r} cannot be imported by another program: "
            "write a function of a module, or a list of turns"
        )
    return f"{module}:{name}"


def _named(text: str) -> Play:
    module, _, name = text.partition(":")
    play: Play = getattr(import_module(module), name)
    return play


_KINDS: dict[str, type[Part]] = {kind.__name__: kind for kind in get_args(Part)}


def _revived(fields: dict[str, Any]) -> Part:
    return msgspec.convert(fields, _KINDS[fields.pop("part")])
