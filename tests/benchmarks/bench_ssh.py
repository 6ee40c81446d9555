"""Commands and files on an SSH host on loopback: by ramure, by asyncssh, and by the ssh program."""

import os
import sys
import tempfile
from pathlib import Path

from compare import HERE, OURS, ROOT, compare, measured_by, options, warm_up

sys.path.insert(0, str(ROOT / "tests/support"))

import ssh_servers

NAMES = {"ramure": "ramure", "bare asyncssh": "bare", "bare ssh, kept": "kept", "bare ssh": "fresh"}

if __name__ == "__main__":
    given = options()
    if ssh_servers.find_sshd() is None:
        sys.exit("there is no sshd: install openssh-server")
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        for part in ("server", "there", "here"):
            (Path(folder) / part).mkdir()
        there = Path(folder) / "there"
        with ssh_servers.server(f"{folder}/server", there, more="MaxSessions 100") as server:
            server.client(f"{folder}/here")
            os.environ["BENCH_SSH"] = f"{folder}/here/.ssh"
            amounts = (3, 1_000_000) if given.quick else (50, 50_000_000)
            measures = {
                name: measured_by(OURS, HERE / f"contenders/ssh_{script}.py", *amounts)
                for name, script in NAMES.items()
            }
            warm_up(given, measures)
            compare("SSH", measures, given.rounds)
