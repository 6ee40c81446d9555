"""The JavaScript that is brought to machines: pi and the packages that it needs, and no more.

Package managers lay packages out in many ways (npm hoists, pnpm links). What is copied is a plain
tree, in which every package finds what it found where it was.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NEEDLESS = re.compile(r".*\.(map|[cm]?ts|md|markdown)|\.package-lock\.json|examples|CHANGELOG.*")
"""Names of what no program reads: maps, types, sources, documents."""

DOCUMENTS = {"README.md", "docs"}
"""What pi tells agents to read about itself; kept with all that is in it."""

PREBUILT = re.compile(r"(aix|android|darwin|freebsd|linux|openbsd|sunos|win32)-(\w+)")
"""Folders of native code, named ``system-architecture`` as Node.js calls these."""


@dataclass(slots=True)
class _Tree:
    """A folder ``node_modules`` that is being filled, and those that its packages see above it."""

    folder: Path
    above: _Tree | None = None
    packages: dict[str, Path] = field(default_factory=dict)

    def sees(self, name: str) -> Path | None:
        """The package that ``name`` means for the packages in here."""
        tree: _Tree | None = self
        while tree is not None:
            if name in tree.packages:
                return tree.packages[name]
            tree = tree.above
        return None


def copy(package: Path, name: str, target: Path, native: str) -> Path:
    """Copy a package and all that it needs into ``target``, a new folder; give its folder there.

    Args:
        package: the folder of the package.
        name: its name.
        target: what becomes a folder ``node_modules``.
        native: whose native code is kept, such as ``linux-x64``.
    """
    top = _Tree(target)
    waiting = [(package.resolve(), name, top)]
    top.packages[name] = package.resolve()
    while waiting:
        source, name_, tree = waiting.pop()
        folder = tree.folder / name_
        _copy_files(source, folder, native, documents=source == package.resolve())
        own = _Tree(folder / "node_modules", tree)
        for needed, found in _needs(source, native):
            seen = own.sees(needed)
            if seen == found:
                continue
            home = top if seen is None else own
            home.packages[needed] = found
            waiting.append((found, needed, home))
    return target / name


def _needs(package: Path, native: str) -> Iterator[tuple[str, Path]]:
    """What a package needs, and where it finds it; what is optional only if it is there."""
    data = _read(package)
    optional = data.get("peerDependenciesMeta", {})
    peers = [name for name in data.get("peerDependencies", {}) if name not in optional]
    for name in {*data.get("dependencies", {}), *data.get("optionalDependencies", {}), *peers}:
        found = _find(package, name)
        if found is not None and _fits(_read(found), native):
            yield name, found


def _find(package: Path, name: str) -> Path | None:
    """The package that ``name`` means in ``package``, as Node.js looks for it."""
    for folder in (package, *package.parents):
        found = folder / "node_modules" / name
        if folder.name != "node_modules" and (found / "package.json").is_file():
            return found.resolve()
    return None


def _fits(data: Mapping[str, Any], native: str) -> bool:
    system, arch = native.split("-", 1)
    return system in data.get("os", [system]) and arch in data.get("cpu", [arch])


def _read(package: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((package / "package.json").read_text("utf-8"))
    return data


def _copy_files(source: Path, target: Path, native: str, *, documents: bool) -> None:
    def needless(folder: str, names: list[str]) -> list[str]:
        here = Path(folder)
        inside = here.relative_to(source).parts
        if documents and inside[:1] == ("docs",):
            return []
        kept = DOCUMENTS if documents and here == source else set()
        return [name for name in names if name not in kept and _is_needless(name, native)]

    shutil.copytree(source, target, ignore=needless, dirs_exist_ok=True)


def _is_needless(name: str, native: str) -> bool:
    prebuilt = PREBUILT.fullmatch(name)
    other = prebuilt is not None and name != native
    return other or name == "node_modules" or NEEDLESS.fullmatch(name) is not None
