"""The lines of a run's logs: one JSON object each, whatever was emitted.

    {"time": …, "type": …, "data": …, "seq": …, "process": …, "agent": …, "source": …}

The last four are there where they say something: a line without ``seq`` is about the run itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ramure.events import Event

MAX_DEPTH = 50
"""Levels of a payload that are written out where it is not JSON as it is."""

MAX_REPR = 10_000
"""Characters of an object's ``repr`` (an exception's message) that are stored."""


class _Line(msgspec.Struct, omit_defaults=True):
    time: float
    type: str
    data: Any
    seq: int = 0
    process: str = ""
    agent: str = ""
    source: str | None = None


def encode(event: Event) -> tuple[bytes, bool]:
    """An event's line; and whether ``decode`` gives back a payload that equals the event's.

    Never raises for a payload or a name: what is no JSON is stored as something that resembles it.
    """
    data, faithful = _encode_data(event.data)
    line = _Line(
        event.time,
        event.type,
        msgspec.Raw(data),  # as it is: the payload is encoded once
        event.seq,
        event.process,
        event.agent,
        event.source,
    )
    try:
        return _encoder.encode(line) + b"\n", faithful
    except UnicodeEncodeError:
        line.type = _plain_text(line.type)
        line.source = None if line.source is None else _plain_text(line.source)
        return _encoder.encode(line) + b"\n", False


def decode(line: bytes) -> Event | None:
    """The event of a line; None for a line that is none."""
    try:
        read = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return Event(read.type, read.data, read.source, read.time, read.seq, read.process, read.agent)


def trace(process: str) -> bytes:
    """What every line of this process contains (others may, too): spares decoding most others."""
    return b'"process":' + _encoder.encode(process) if process else b""


def read_block(path: Path, offset: int, size: int) -> tuple[list[bytes], int]:
    """The whole lines in about ``size`` bytes of a file from ``offset`` on, and where they end.

    A line longer than ``size`` is read whole. A last line without its end is left for later.
    Blocks: for worker threads.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            block = os.pread(descriptor, size, offset)
            end = block.rfind(b"\n") + 1
            if end or len(block) < size:
                return block[:end].split(b"\n")[:-1], offset + end
            size *= 2
    finally:
        os.close(descriptor)


# --- payloads


def _encode_data(data: Any) -> tuple[bytes, bool]:
    try:
        encoded = _encoder.encode(data)
        if b"\n" not in encoded:  # a msgspec.Raw may hold anything
            return encoded, bool(_any.decode(encoded) == data)
    except Exception:  # noqa: BLE001, S110 a payload runs its own code, and may be anything
        pass
    return _encoder.encode(_plain(data, MAX_DEPTH, ())), False


def _substitute(value: Any) -> Any:
    """What msgspec writes in place of an object it does not know."""
    if isinstance(value, BaseException):
        return {"error": type(value).__qualname__, "message": _repr(value, str)}
    for kind in (str, int, float):  # msgspec takes these, not what is derived from them
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    # Whoever has a pydantic model has imported pydantic; nobody else is to pay for it.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    return _repr(value)


def _plain(value: Any, depth: int, above: tuple[int, ...]) -> Any:
    """A likeness of a payload that is sure to be JSON; ``above`` are the ids of what holds it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value)
    if type(value) is float or (type(value) is int and value.bit_length() < 64):
        return value
    if id(value) in above or depth == 0:
        return f"<{type(value).__qualname__}: …>"
    within = (*above, id(value))
    if type(value) is dict:
        return {_plain_key(key): _plain(value[key], depth - 1, within) for key in value}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth - 1, within) for item in value]
    try:
        # By the object's own code or msgspec's: a dataclass gives a dictionary, say.
        plain = msgspec.to_builtins(value, enc_hook=_substitute)
        return _plain(plain, depth - 1, within)
    except Exception:  # noqa: BLE001 the object's own code failed
        return _plain_text(_repr(value))


def _plain_key(key: object) -> str:
    return _plain_text(key if isinstance(key, str) else _repr(key))


def _plain_text(text: str) -> str:
    """Text without lone surrogates, which no UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def _repr(value: object, shown_as: Callable[[object], str] = repr) -> str:
    try:
        return shown_as(value)[:MAX_REPR]
    except Exception:  # noqa: BLE001 the object's own code failed
        return f"<{type(value).__qualname__}>"


_encoder = msgspec.json.Encoder(enc_hook=_substitute)
_decoder = msgspec.json.Decoder(_Line)
_any = msgspec.json.Decoder()
