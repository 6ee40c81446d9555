"""Starting the emulator, and its switches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

SERVER = Path(__file__).with_name("server.py")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Emulator:
    """``with Emulator() as cloud: cloud("lose", sandbox=…)``; ``env`` leads the SDK to it."""

    def __enter__(self) -> Self:
        # Not measured itself, which would slow it down.
        env = {name: it for name, it in os.environ.items() if not name.startswith("COVERAGE_")}
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
        control, self._switches = self.process.stdout.readline().split()
        self.env = {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{control}",
            "MODAL_TOKEN_ID": "ak-emulated",
            "MODAL_TOKEN_SECRET": "as-emulated",
            "MODAL_CONFIG_PATH": "/nonexistent",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __call__(self, do: str, **arguments: object):
        """Work a switch: see ``do_…`` of ``server.Emulator``."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._switches}/switch",
            json.dumps({"do": do, **arguments}).encode(),
            {"Content-Type": "application/json"},
        )
        with OPENER.open(request, timeout=60) as answer:
            return json.load(answer)

    def alive(self, **tags: str) -> list[dict]:
        """The sandboxes that run and carry these tags."""
        return [
            it for it in self("sandboxes") if it["alive"] and tags.items() <= it["tags"].items()
        ]


def missing() -> str:
    """What keeps the emulator from running here; "" where nothing does."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "the Modal emulator needs Linux and root, for namespaces: run the tests as root"
    if not Path("/bin").is_symlink():
        return "the Modal emulator needs a system whose /bin is in /usr"
    probe = [sys.executable, "-I", "-S", str(SERVER.with_name("inside.py")), "probe"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"the Modal emulator cannot make namespaces: {tried.stderr}" if tried.returncode else ""
