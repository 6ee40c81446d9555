"""Programs of this computer, with the libraries that they need, for others of its architecture.

They are started by the loader that they came with, so that it does not matter which C library, and
which version of it, a machine has.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

TERMINALS = (
    *("ansi", "dumb", "linux", "vt100", "vt220", "alacritty", "xterm-ghostty", "xterm-kitty"),
    *("screen", "screen-256color", "tmux", "tmux-256color", "xterm", "xterm-256color"),
    *("rxvt-unicode", "rxvt-unicode-256color", "foot", "wezterm"),
)
"""Terminals from which people look at agents, and those that tmux offers."""

TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo")
LOCALES = ("/usr/lib/locale", "/usr/share/locale", "/usr/lib64/locale")
UTF_8 = ("C.utf8", "C.UTF-8", "en_US.utf8", "en_US.UTF-8")

LOOKED_UP = ("libnss_files.so.2", "libnss_dns.so.2")
"""Libraries that the C library looks for by itself; in newer ones they hold nothing."""


class CannotBeCopied(Exception):
    """A program of this computer does not work elsewhere."""


def copy(program: Path, name: str, folder: Path) -> None:
    """Put a program and its libraries into ``folder/lib``, and what starts it into ``folder/bin``.

    Raises:
        CannotBeCopied: it is not one of this computer, or not started by a loader.
    """
    libraries = _libraries(program)
    loader = next((path.name for path in libraries if path.name.startswith("ld-")), None)
    if loader is None:
        raise CannotBeCopied(f"{program} is started by no loader that is known")
    around = {path.parent for path in libraries}
    extras = [near / extra for near in around for extra in LOOKED_UP if (near / extra).is_file()]
    (folder / "lib").mkdir(exist_ok=True)
    for library in (*libraries, *extras):
        shutil.copyfile(library, folder / "lib" / library.name)
    if program != folder / "lib" / name:
        shutil.copyfile(program, folder / "lib" / name)
    for started in (name, loader):
        (folder / "lib" / started).chmod(0o755)
    put_script(f"{name}.sh", folder / "bin" / name)


def put_script(name: str, target: Path) -> None:
    """Put one of our own scripts for programs elsewhere into the file ``target``."""
    target.parent.mkdir(exist_ok=True)
    script = files("ramure.harnesses.pi") / "scripts" / "programs" / name
    target.write_text(script.read_text("utf-8"), "utf-8")
    target.chmod(0o755)


def _libraries(program: Path) -> list[Path]:
    done = subprocess.run(
        ["ldd", str(program)],
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    missing = "not found" in done.stdout
    if done.returncode != 0 or missing:
        raise CannotBeCopied(f"ldd {program}: {(done.stdout if missing else done.stderr).strip()}")
    found = re.findall(r"(?:=> |^\s)(/\S+) \(0x", done.stdout, re.MULTILINE)
    return [_plain(Path(path)) for path in found]


def _plain(library: Path) -> Path:
    """The library for any processor, where the one of this computer's own was found."""
    parts = library.parts
    if "glibc-hwcaps" in parts:
        plain = Path(*parts[: parts.index("glibc-hwcaps")], library.name)
        return plain if plain.is_file() else library
    return library


def copy_terminals(target: Path) -> None:
    """Put what is known of people's terminals here into ``target``, as terminfo folders have it."""
    for name in TERMINALS:
        for base in TERMINFO:
            for shelf in (name[0], f"{ord(name[0]):x}"):
                entry = Path(base, shelf, name)
                if entry.is_file() and not (target / shelf / name).exists():
                    (target / shelf).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(entry, target / shelf / name)


def copy_locale(target: Path) -> None:
    """Put a locale with UTF-8 into ``target``, as far as tmux needs it: what are characters.

    Raises:
        CannotBeCopied: there is none here.
    """
    for base in LOCALES:
        for name in UTF_8:
            characters = Path(base, name, "LC_CTYPE")
            if characters.is_file():
                (target / "C.utf8").mkdir(parents=True)
                shutil.copyfile(characters, target / "C.utf8" / "LC_CTYPE")
                return
    target.mkdir(parents=True, exist_ok=True)
    command = ["localedef", "--no-archive", "-i", "POSIX", "-f", "UTF-8", str(target / "C.utf8")]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)  # noqa: PLW1510 with warnings, it exits with 1
    except OSError as error:
        raise CannotBeCopied("there is no locale with UTF-8 on this computer") from error
    if not (target / "C.utf8" / "LC_CTYPE").is_file():
        raise CannotBeCopied("there is no locale with UTF-8 on this computer")
