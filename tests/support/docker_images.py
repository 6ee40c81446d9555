"""Images for tests, made of this computer's own programs: no registry is asked."""

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

_BASIC = """
bash sh cat chmod chown cp cut date dd dirname basename env false find getconf grep gzip head id ldd
ln ls mkdir mkfifo mktemp mv nohup od ps printf pwd readlink rm sed seq setsid sleep sort stat stty
tail tar tee timeout touch tr true uname wc
"""
BASIC = tuple(_BASIC.split())

FOLDERS = ("/usr/lib/locale/C.utf8", "/lib/terminfo", "/usr/share/terminfo/x")
PASSWD = """root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
worker:x:1000:1000:worker:/home/worker:/bin/bash
"""
GROUP = "root:x:0:\nnogroup:x:65534:\nworker:x:1000:\nextra:x:1001:worker\n"


def archive(programs=BASIC, *, python=False, trees=()):
    """A root file system with these programs and what they need, as the bytes of a tar archive.

    ``trees`` are (folder here, folder there).
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        root = _Root(tar)
        for folder in ("/tmp", "/root", "/home/worker", "/proc", "/sys", "/dev", "/run", "/etc"):
            root.folder(folder)
        root.text("/etc/passwd", PASSWD)
        root.text("/etc/group", GROUP)
        for program in programs:
            root.program(program)
        for folder in FOLDERS:
            root.tree(folder, folder)
        if python:
            root.python()
        for here, there in trees:
            root.tree(here, there)
    return buffer.getvalue()


def bare(texts=()):
    """A root file system of busybox and nothing else: no C library, no bash, no Node.js.

    ``texts`` are further files: (path, content).
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        root = _Root(tar)
        for folder in ("/tmp", "/root", "/etc"):
            root.folder(folder)
        root.text("/etc/passwd", PASSWD)
        root.text("/etc/group", GROUP)
        busybox = shutil.which("busybox")
        root.file(busybox, "/bin/busybox")
        for name in subprocess.check_output([busybox, "--list"], text=True).split():
            if name not in {"busybox", "bash"}:
                root.link(f"/bin/{name}", "busybox")
        root.folder("/usr/bin")
        root.link("/usr/bin/env", "/bin/busybox")
        for path, content in texts:
            root.text(path, content)
    return buffer.getvalue()


class _Root:
    """Puts things into a root file system, each once."""

    def __init__(self, tar):
        self._tar = tar
        self._there = set()

    def folder(self, path):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755
        if path == "/home/worker":
            info.uid = info.gid = 1000
        self._tar.addfile(info)

    def text(self, path, content):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content.encode()))

    def link(self, path, target):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)

    def file(self, here, there):
        """A file as it is, links followed, under a path without links."""
        if there not in self._there:
            self._there.add(there)
            info = self._tar.gettarinfo(os.path.realpath(here), arcname=there.lstrip("/"))
            info.type, info.linkname = tarfile.REGTYPE, ""  # never a hard link to another of them
            info.size = Path(here).stat().st_size
            info.uid = info.gid = 0
            with Path(here).open("rb") as content:
                self._tar.addfile(info, content)

    def program(self, name):
        here = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/usr/local/bin")
        if here is None:
            raise FileNotFoundError(f"this computer has no {name} to make an image of")
        self.file(here, f"/bin/{name}")
        self.libraries(here)

    def libraries(self, path):
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            # One folder that every loader looks into; the loader itself by its own name.
            there = library if "/ld-" in library else f"/lib/{Path(library).name}"
            self.file(library, there)

    def tree(self, here, there):
        for path in sorted(Path(here).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                self.file(str(path), f"{there}/{path.relative_to(here)}")

    def python(self):
        """The system's Python with the parts of its library that the tests use."""
        self.program("python3")
        library = Path(f"/usr/lib/{Path('/usr/bin/python3').resolve().name}")
        for path in sorted(library.rglob("*")):
            left_out = {"test", "lib2to3", "ensurepip", "pydoc_data", "tkinter", "idlelib"}
            if path.is_file() and path.suffix != ".pyc" and not left_out & {*path.parts}:
                self.file(str(path), str(path))
        for module in library.glob("lib-dynload/*.so"):
            self.libraries(str(module))
