"""Accounts of the tests' own on an SSH server: one that is not root, and one that it may become."""

import os
import shutil
import subprocess
from pathlib import Path

import parts

WORKER, OTHER = 4242, 4243
"""Numbers of the two users, who are called ``worker`` and ``other``."""

# A mount namespace of its own: the computer's files stay as they are, and nothing stays mounted.
MOUNT = 'mount --bind "$1" /etc || exit 70; shift; exec "$@"'


def need_accounts():
    """Skip the test where there can be none; in CI it fails."""
    if os.getuid() != 0:
        parts.lacking("only root can have a server with accounts")
    if shutil.which("sudo") is None:
        parts.lacking("there is no sudo: install it")
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        parts.lacking("mount namespaces cannot be made here")


def make(etc, home):
    """Give ``worker`` a home; give what ``Server`` needs to know both accounts.

    ``worker`` may become ``other`` by sudo, and nobody else.
    """
    # A folder, since what is mounted over a file ends where somebody replaces that.
    shutil.copytree("/etc", etc, symlinks=True)
    etc = Path(etc)
    numbers = f"x:{WORKER}:{WORKER}", f"x:{OTHER}:{OTHER}"
    users = {
        "passwd": f"worker:{numbers[0]}::{home}:/bin/sh\nother:{numbers[1]}::/:/bin/sh\n",
        "group": f"worker:x:{WORKER}:\nother:x:{OTHER}:\n",
        "shadow": "worker:*:19000::::::\nother:*:19000::::::\n",  # no password, but not locked
    }
    for name, lines in users.items():
        with (etc / name).open("a") as file:
            file.write(lines)
    (etc / "sudoers").write_text("worker ALL = (other) NOPASSWD: ALL\n")
    (etc / "sudoers").chmod(0o440)
    os.chown(home, WORKER, WORKER)
    return {"wrap": ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(etc)]}
