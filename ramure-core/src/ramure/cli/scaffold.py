"""The package of a new plugin: ``templates/`` with its names filled in."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ramure.errors import UsageError
from ramure.plugins import Plugins, missing

SUFFIX = ".tmpl"
"""Templates are no Python until they are filled in."""

OPTIONAL = re.compile(r"@if harness@\n(.*?)@end@\n", re.DOTALL)
"""Lines that are there only with ``--harness``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written.

    Attributes:
        name: of the backend, and of the harness.
        folder: where the package is made; it is not there, or empty.
        parts: the folders of templates.
    """

    name: str
    folder: Path
    parts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, folder: Path | None, *, harness: bool) -> Plan:
        """What a person asked for.

        Raises:
            UsageError: the name cannot be used, or the folder holds something.
        """
        name = name.removeprefix("ramure-")
        _check_name(name)
        target = folder or Path(f"ramure-{name}")
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"there is a folder {target}, and it is not empty: say --dir FOLDER")
        if target.exists() and not target.is_dir():
            raise UsageError(f"there is a file {target}: say --dir FOLDER")
        return cls(name, target, ("backend", "harness") if harness else ("backend",))

    @property
    def names(self) -> dict[str, str]:
        """What stands in templates, and what is put in its place."""
        from ramure import __version__

        major, minor, *_ = __version__.split(".")
        return {
            "@name@": self.name,
            "@distribution@": f"ramure-{self.name}",
            "@module@": f"ramure_{self.name.replace('-', '_')}",
            "@Class@": "".join(word.capitalize() for word in self.name.split("-")),
            "@ramure@": f"{major}.{minor}",
        }


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 40:
        raise UsageError(
            f"{name!r} cannot be a plugin's name: lower case letters and digits, and dashes in "
            "between, such as my-cloud"
        )
    if keyword.iskeyword(name) or name in ("core", "ramure"):
        raise UsageError(f"{name!r} cannot be a plugin's name: it means something else already")
    plugins = Plugins.load()
    if name in {*plugins.backends(), *plugins.harnesses(), *missing.BACKENDS}:
        raise UsageError(f"{name!r} is the name of another plugin's: `ramure plugins` lists them")


def write(plan: Plan) -> list[Path]:
    """Write all files; give them.

    Raises:
        UsageError: the folder cannot be written to.
    """
    written: list[Path] = []
    try:
        for part in plan.parts:
            _fill(files("ramure.cli") / "templates" / part, plan.folder, plan, written)
    except OSError as error:
        raise UsageError(f"{plan.folder} cannot be written: {error}") from error
    return written


def _fill(source: Traversable, target: Path, plan: Plan, written: list[Path]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir(), key=lambda entry: entry.name):
        path = target / _filled(entry.name.removesuffix(SUFFIX), plan)
        if entry.is_dir():
            _fill(entry, path, plan, written)
        else:
            path.write_text(_filled(entry.read_text("utf-8"), plan), "utf-8")
            written.append(path)


def _filled(text: str, plan: Plan) -> str:
    harness = "harness" in plan.parts
    text = OPTIONAL.sub(lambda found: found[1] if harness else "", text)
    for name, value in plan.names.items():
        text = text.replace(name, value)
    return text
