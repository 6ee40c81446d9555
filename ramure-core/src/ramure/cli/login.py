"""What model pi could use on this computer, told without starting it and without reading a key."""

from __future__ import annotations

import json
import os
from pathlib import Path

KEYS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_OAUTH_TOKEN",
    "ANTHROPIC_AUTH_TOKEN",
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "OPENROUTER_API_KEY",
    "DEEPSEEK_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "XAI_API_KEY",
    "CEREBRAS_API_KEY",
    "AI_GATEWAY_API_KEY",
    "ZAI_API_KEY",
    "OPENCODE_API_KEY",
    "FIREWORKS_API_KEY",
    "TOGETHER_API_KEY",
    "KIMI_API_KEY",
    "MINIMAX_API_KEY",
    "MOONSHOT_API_KEY",
    "COPILOT_GITHUB_TOKEN",
)
"""The variables that pi's providers read, as its documentation lists them; those that are set for
other purposes, too (AWS's, HF_TOKEN), say nothing here."""


def find_login() -> str:
    """What pi can use, in words; "" where nothing was found. Never a secret."""
    folder = Path(os.environ.get("PI_CODING_AGENT_DIR") or Path.home() / ".pi" / "agent")
    if logins := _keys(folder / "auth.json"):
        return f"pi's login for {', '.join(logins)}"
    for name in KEYS:
        if os.environ.get(name):
            return f"${name}"
    if providers := _keys(folder / "models.json", "providers"):
        return f"the providers of {folder / 'models.json'}: {', '.join(providers)}"
    return ""


def _keys(path: Path, *within: str) -> list[str]:
    """The names in a JSON object in a file; none where there is no such file."""
    try:
        value = json.loads(path.read_text("utf-8"))
        for name in within:
            value = value[name]
        return sorted(value)
    except (OSError, ValueError, KeyError, TypeError):
        return []
