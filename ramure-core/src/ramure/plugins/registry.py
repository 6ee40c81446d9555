"""Who claims which name. A name that two plugins claim belongs to neither; all others work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Generic, Protocol, TypeVar

from ramure.errors import MissingPlugin, NotRegistered, PluginError
from ramure.plugins import missing

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

Tell = Callable[[str, str], object]
"""Takes the plugin's title and what is wrong with it."""


class Info(Protocol):
    """What every description has."""

    @property
    def name(self) -> str: ...  # noqa: D102 the name that is claimed


T = TypeVar("T", bound=Info)


class Registry(Generic[T]):
    """The descriptions of one kind, by name."""

    def __init__(
        self, kind: str, type_: type[T], results: Iterable[tuple[str, object]], tell: Tell
    ) -> None:
        self.kind = kind
        self._claims: dict[str, list[tuple[str, T]]] = {}
        for title, result in results:
            for info in result if isinstance(result, list) else [result]:
                if not isinstance(info, type_) or not _good(info.name):
                    tell(
                        title, f"registered {info!r}, which is no {type_.__name__} with a good name"
                    )
                else:
                    self._claims.setdefault(info.name, []).append((title, info))
        for name, claims in self._claims.items():
            if len(claims) > 1:
                for title in dict.fromkeys(title for title, _ in claims):
                    tell(title, self._clash(name))

    def __getitem__(self, name: str) -> T:
        """The description of this name.

        Raises:
            NotRegistered: nobody claims it; the message says what is there, or how to install it.
            PluginError: several do.
        """
        claims = self._claims.get(name, [])
        if len(claims) > 1:
            raise PluginError(f"{self._clash(name)}; uninstall one of them")
        if not claims:
            raise self._unknown(name)
        return claims[0][1]

    def all(self) -> Mapping[str, T]:
        """Every name that one plugin alone claims."""
        return {n: claims[0][1] for n, claims in sorted(self._claims.items()) if len(claims) == 1}

    def names_of(self, title: str) -> list[str]:
        """What one plugin claims."""
        return [n for n, claims in self._claims.items() if any(t == title for t, _ in claims)]

    def _clash(self, name: str) -> str:
        owners = " and ".join(title for title, _ in self._claims[name])
        return f"the {self.kind} {name!r} is claimed by {owners}"

    def _unknown(self, name: str) -> NotRegistered:
        installed = f"installed: {', '.join(sorted(self._claims)) or 'none'}"
        if self.kind == "backend" and (cure := missing.cure(name)):
            return MissingPlugin(f"the backend {name!r} is not installed: {cure} ({installed})")
        names = {*self._claims, *(missing.BACKENDS if self.kind == "backend" else ())}
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return NotRegistered(f"there is no {self.kind} {name!r} ({installed}){hint}")


def _good(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
