"""What an agent elsewhere is given so that it reaches its model: one provider's key, and no other.

The person's own pi folder is read here and never sent: its ``auth.json`` holds all providers' keys,
and sign-ins whose tokens are good for one computer only. What is sent becomes a pi folder of the
agent's own (``launch.py`` says where).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramure.errors import AgentStartFailed
from ramure.harnesses.pi.providers import COMPANIONS, NOT_IN_A_FILE, VARIABLES
from ramure.values import AgentSpec

FOLDER = "PI_CODING_AGENT_DIR"

SETTINGS = {"compaction", "defaultModel", "defaultProvider", "defaultThinkingLevel"} | {
    *("modelThinkingLevels", "quietStartup", "retry", "thinkingBudgets", "transport"),
}
"""What of the person's settings concerns agents elsewhere; nothing of it is secret."""

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_REFERENCE = re.compile(r"\$(?:([$!])|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")

Keys = Mapping[str, str] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Access:
    """What leads to a model: files of a pi folder, and environment. Secret."""

    files: Mapping[str, str] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)


def grant(spec: AgentSpec) -> Access | None:
    """What the agent is given. Blocks: keys may come from commands.

    Returns:
        None where it gets nothing, and what is on its machine has to do.

    Raises:
        AgentStartFailed: a key cannot be given, or ``keys=`` makes no sense.
    """
    asked: Keys | None = spec.options.get("keys")
    if asked is not None and (isinstance(asked, str) or not _are_texts(asked)):
        raise AgentStartFailed("keys= is a list of names, or maps names to keys")
    if FOLDER in spec.env:  # the person says which folder it is, on the machine
        return None
    wallet = Wallet({**os.environ, **spec.env})
    if asked is None:
        provider = wallet.choose(spec.model)
        asked = [provider] if provider else []
    for name in asked:
        wallet.put(name, asked[name] if isinstance(asked, Mapping) else None)
    return wallet.access() if asked else None


def _are_texts(keys: Keys) -> bool:
    values = keys.values() if isinstance(keys, Mapping) else ()
    return all(isinstance(text, str) and text for text in (*keys, *values))


class Wallet:
    """The person's keys, and those of them that an agent gets."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._folder = Path(env.get(FOLDER) or "~/.pi/agent").expanduser()
        self._auth = self._read("auth.json")
        self._settings = self._read("settings.json")
        providers = self._read("models.json").get("providers")
        self._models: dict[str, Any] = providers if isinstance(providers, dict) else {}
        self._given_auth: dict[str, Any] = {}
        self._given_models: dict[str, Any] = {}
        self._given_env: dict[str, str] = {}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            text = (self._folder / name).read_text("utf-8-sig")
            value = json.loads(_plain_json(text) if name == "models.json" else text)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise AgentStartFailed(f"{self._folder / name} cannot be read: {error}") from error
        return value if isinstance(value, dict) else {}

    def choose(self, model: str | None) -> str | None:
        """The provider that pi would take: of the model, the default, or the first with a key."""
        prefix, slash, _ = (model or "").partition("/")
        if slash and prefix in {*VARIABLES, *self._models, *self._auth}:
            return prefix if self._has(prefix) else None
        default = self._settings.get("defaultProvider")
        candidates = (default, *VARIABLES, *self._auth, *self._models)
        return next((name for name in candidates if name and self._has(name)), None)

    def _has(self, provider: str) -> bool:
        there = provider in self._auth or provider in self._models
        return there or next(self._variables(provider), None) is not None

    def _variables(self, provider: str) -> Iterator[str]:
        return (name for name in VARIABLES.get(provider, ()) if self._env.get(name))

    def put(self, name: str, key: str | None) -> None:
        """Give a variable or a provider's key: this one, or the person's own."""
        if _VARIABLE.fullmatch(name):
            self._give_variable(name, key)
            return
        if name in self._models:
            self._given_models[name] = self._resolved(self._models[name], own=key is None)
        if key is not None:
            self._given_auth[name] = {"type": "api_key", "key": literal(key)}
        elif self._stored_key(name) or (name in self._auth and not any(self._variables(name))):
            self._given_auth[name] = self._stored(name)
        else:
            self._give_from_environment(name)

    def _give_variable(self, name: str, value: str | None) -> None:
        value = value or self._env.get(name)
        if not value:
            raise AgentStartFailed(f"keys= names {name}, which is not in the environment")
        self._given_env[name] = value

    def _stored_key(self, provider: str) -> dict[str, Any] | None:
        stored = self._auth.get(provider)
        return stored if isinstance(stored, dict) and stored.get("type") == "api_key" else None

    def _stored(self, provider: str) -> dict[str, Any]:
        stored = self._stored_key(provider)
        if stored is None:
            raise AgentStartFailed(
                f"you are signed in to {provider!r}, which is good for this computer only: for "
                f"agents elsewhere give an API key, keys={{{provider!r}: …}}, or keys=[] where "
                "their machine has its own"
            )
        given = dict(stored)
        if key := stored.get("key"):
            given["key"] = literal(self._resolve(key, stored.get("env", {})))
        return given

    def _give_from_environment(self, provider: str) -> None:
        name = next(self._variables(provider), None)
        if name is None:
            if provider not in self._models:
                raise AgentStartFailed(f"there is no key for {provider!r} on this computer")
        elif provider in NOT_IN_A_FILE or name == "ANTHROPIC_AUTH_TOKEN":
            there = (*self._variables(provider), *COMPANIONS.get(provider, ()))
            self._given_env.update({n: self._env[n] for n in there if self._env.get(n)})
        else:
            self._given_auth[provider] = {"type": "api_key", "key": literal(self._env[name])}

    def _resolved(self, provider: Any, *, own: bool) -> Any:
        """A provider of one's own, with what it names on this computer put in; or without a key."""
        if not isinstance(provider, dict):
            return provider
        entry = dict(provider)
        if isinstance(entry.get("apiKey"), str):
            # pi wants one where models are defined; another, from auth.json, comes first.
            entry["apiKey"] = literal(self._resolve(entry["apiKey"], {})) if own else "none"
        if isinstance(entry.get("headers"), dict):
            entry["headers"] = {
                name: literal(self._resolve(str(value), {}))
                for name, value in entry["headers"].items()
            }
        if isinstance(entry.get("models"), list):
            entry["models"] = [self._resolved(model, own=own) for model in entry["models"]]
        return entry

    def _resolve(self, value: str, extra: Mapping[str, str]) -> str:
        """What pi takes a value in its files for: a command, text with variables, a variable."""
        env = {**self._env, **extra}
        if value.startswith("!"):
            return _output(value[1:])
        if "$" not in value:
            return env.get(value) or value

        def replaced(match: re.Match[str]) -> str:
            escaped, braced, plain = match.groups()
            name = braced or plain
            if name and not env.get(name):
                raise AgentStartFailed(f"pi's files name {name}, which is not in the environment")
            return escaped or env[name]

        return _REFERENCE.sub(replaced, value)

    def access(self) -> Access:
        """All that the agent gets."""
        settings = {name: value for name, value in self._settings.items() if name in SETTINGS}
        given = {*self._given_auth, *self._given_models}
        if settings.get("defaultProvider") not in given and not self._given_env:
            settings.pop("defaultProvider", None)
            settings.pop("defaultModel", None)
        files = {
            "auth.json": self._given_auth,
            "models.json": {"providers": self._given_models},
            "settings.json": settings,
        }
        return Access({name: json.dumps(text) for name, text in files.items()}, self._given_env)


def _plain_json(text: str) -> str:
    """JSON without the ``//`` comments and trailing commas that pi takes in ``models.json``."""
    for needless in (r"//[^\n]*", r",(?=\s*[}\]])"):
        # Strings come first, so that what looks needless in them is kept.
        text = re.sub(rf'("(?:\\.|[^"\\])*")|{needless}', lambda found: found[1] or "", text)
    return text


def literal(text: str) -> str:
    """Text for pi's files that it takes as it is."""
    escaped = text.replace("$", "$$")
    return f"$!{escaped[1:]}" if escaped.startswith("!") else escaped


def _output(command: str) -> str:
    """What a command of the person's prints: a password manager's, say."""
    try:
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        said = ""
    else:
        said = done.stdout.strip() if done.returncode == 0 else ""
    if not said:
        raise AgentStartFailed("a command in pi's settings that gives a key gave none")
    return said
