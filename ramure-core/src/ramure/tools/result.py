"""What a function returned or raised, as text for a model. Nothing here raises."""

from __future__ import annotations

import json
import math
from typing import Any

NOTHING = "ok"
"""What a model reads where the function returned None."""


def text_of(value: object) -> str:
    """Text as it is, None as ``ok``, everything else as JSON.

    Values that JSON has no form for are given as Python shows them; NaN and infinity as the
    strings ``"NaN"`` and ``"Infinity"``. What JSON writes as a string (a path, a date) comes
    without its quotes.
    """
    if value is None:
        return NOTHING
    text = value if type(value) is str else _encode(value)
    # A lone surrogate (from os.listdir, say) could not be sent.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _encode(value: object) -> str:
    from pydantic_core import to_json

    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        encoded = to_json(value, inf_nan_mode="strings", fallback=_plain).decode()
        return json.loads(encoded) if encoded.startswith('"') else encoded
    except Exception:  # noqa: BLE001 properties and iterators of any class run here
        return _shown(value)


def _plain(value: object) -> Any:
    """What pydantic does not know."""
    import msgspec

    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return _shown(value)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 any class may get its repr wrong
        return f"<{type(value).__name__}>"


def describe(error: BaseException) -> str:
    """``ValueError: message``; the class alone where there is no message."""
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name}: {'; '.join(map(describe, error.exceptions))}"
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 any class may get its str wrong
        message = ""
    return text_of(f"{name}: {message}" if message else name)


def jsonable(value: Any, key: str) -> dict[str, Any]:
    """``{key: value}`` in plain JSON values; empty where JSON has no form for it."""
    if value is None or type(value) in (bool, int, str):
        return {key: value}
    if isinstance(value, float) and not math.isfinite(value):
        return {}
    from pydantic_core import to_jsonable_python

    try:
        return {key: to_jsonable_python(value)}
    except Exception:  # noqa: BLE001 any class, and its properties
        return {}
