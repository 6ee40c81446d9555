"""A folder for pi's ``PI_CODING_AGENT_DIR`` in which everything leads to a scripted model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ramure.paths import make_private

PRICES = {"input": 1.0, "output": 2.0, "cacheRead": 0.1, "cacheWrite": 1.25}
"""US dollars for a million tokens, so that a cost arrives that a test can foresee."""

QUICK_RETRIES = {"enabled": True, "maxRetries": 3, "baseDelayMs": 50}
"""pi's own waits 2, 4 and 8 seconds, which is long in a test."""


def write(
    folder: Path,
    *,
    url: str,
    key: str,
    models: Sequence[str],
    apis: Sequence[str],
    settings: Mapping[str, Any],
) -> Path:
    """Write ``models.json`` and ``settings.json``, owner-only; the first API is the default's.

    The provider of the first API is called ``scripted``, that of another ``scripted-{api}``.
    """
    names = {api: "scripted" if api == apis[0] else f"scripted-{api}" for api in apis}
    providers = {name: _provider(api, url, key, models) for api, name in names.items()}
    defaults = {"defaultProvider": "scripted", "defaultModel": models[0]}
    return write_files(folder, providers, defaults | dict(settings))


def write_files(folder: Path, providers: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    """Write the files of these providers and settings, owner-only."""
    make_private(folder)
    defaults = {"quietStartup": True, "retry": QUICK_RETRIES}
    _write(folder / "models.json", {"providers": providers})
    _write(folder / "settings.json", defaults | dict(settings))
    return folder


def _provider(api: str, url: str, key: str, models: Sequence[str]) -> dict[str, Any]:
    return {
        "baseUrl": url if api == "anthropic-messages" else f"{url}/v1",
        "api": api,
        "apiKey": key,
        # Names the conversation in a header, which is how a script is played once for each.
        "compat": {"sendSessionAffinityHeaders": True} if api != "openai-responses" else {},
        "models": [
            {"id": model, "contextWindow": 200_000, "maxTokens": 8_192, "cost": PRICES}
            for model in models
        ],
    }


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(value, file, indent=2)
